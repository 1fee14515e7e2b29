"""The verdict: it passes only what it has seen, and a reader of the JSON can rely on its form."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.verdict import (
    Alert,
    Check,
    DeviceVerdict,
    Kind,
    Outcome,
    ReadBack,
    Requirement,
    RequirementResult,
    Verdict,
    version_text,
)

jsonschema = pytest.importorskip("jsonschema")

SCHEMA = json.loads(resources.files("hil").joinpath("schemas/verdict.schema.json").read_text())

ALERT = Alert("8F8B", "CS09", "2026-01-01T00:05:20Z", 0, True, "N39")
ACTIVATED = DeviceVerdict(
    device_id="bridge-1",
    kind="bridge-1",
    outcome="activated",
    version_before="00000001",
    version_after="00000002",
    image_policy="maker-signed",
    blocks=13_715,
    bytes=768_000,
    sha256="0" * 64,
    alerts=(replace(ALERT, code="8F8A", use_case="CCS08", result=None, dcc_alert=None), ALERT),
    read_back=ReadBack("00000002", 0, True),
)
PASSED = Verdict(
    seed=1,
    clock="virtual",
    trace_hash="ab" * 32,
    wall_s=9.5,
    virtual_s=320.25,
    devices=(ACTIVATED,),
    unwitnessed=("APS tunnel command",),
    checks=(Check("tunnel 1500 octets to ppmid", "pass", "came back whole"),),
    scope=("MP170-R6",),
    requirements=(Requirement("MP170-R6", "pass", ("events.jsonl#12", "air.pcapng#4711")),),
)


def validate(document: Any) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    validator.validate(document)


def test_a_run_whose_devices_were_all_activated_passes() -> None:
    assert (PASSED.verdict, PASSED.exit_code) == ("pass", 0)


@pytest.mark.parametrize("outcome", [name for name in get_args(Outcome) if name != "activated"])
def test_one_device_that_was_not_activated_fails_the_run(outcome: Outcome) -> None:
    failed = replace(PASSED, devices=(ACTIVATED, replace(ACTIVATED, outcome=outcome)))
    assert (failed.verdict, failed.exit_code) == ("fail", 1)


def test_a_failed_check_fails_the_run() -> None:
    check = Check("seed repeats", "fail", "another trace hash")
    assert replace(PASSED, checks=(*PASSED.checks, check)).verdict == "fail"


@pytest.mark.parametrize("result", get_args(RequirementResult))
def test_a_requirement_of_the_scope_that_was_not_shown_fails_the_run(
    result: RequirementResult,
) -> None:
    judged = replace(PASSED, requirements=(Requirement("MP170-R6", result),))
    assert judged.verdict == ("pass" if result in ("pass", "not-applicable") else "fail")


def test_what_lies_outside_the_scope_and_was_not_run_fails_nothing() -> None:
    judged = replace(
        PASSED, requirements=(*PASSED.requirements, Requirement("MP170-R1", "not-run"))
    )
    assert judged.verdict == "pass"


def test_a_run_without_devices_shows_nothing_and_so_fails() -> None:
    assert replace(PASSED, devices=()).verdict == "fail"


def test_the_document_says_what_was_promised_in_this_order() -> None:
    document = json.loads(PASSED.to_json())
    validate(document)
    assert list(document) == [
        "schema", "verdict", "seed", "clock", "trace_hash", "unwitnessed", "wall_s", "virtual_s",
        "devices", "checks", "scope", "requirements", "radios",
    ]  # fmt: skip
    assert list(document["devices"][0]) == [
        "device_id", "kind", "outcome", "version_before", "version_after", "image_policy",
        "blocks", "bytes", "sha256", "alerts", "read_back",
    ]  # fmt: skip
    assert document["devices"][0]["alerts"][1] == {
        "code": "8F8B",
        "use_case": "CS09",
        "time": "2026-01-01T00:05:20Z",
        "result": 0,
        "verified": True,
        "dcc_alert": "N39",
    }
    assert document["devices"][0]["read_back"] == {
        "version": "00000002",
        "result": 0,
        "equals_smi": True,
    }


def test_a_device_nobody_reached_is_still_well_formed() -> None:
    lost = replace(
        ACTIVATED,
        outcome="not-attempted",
        version_before=None,
        version_after=None,
        sha256=None,
        alerts=(),
        read_back=None,
    )
    verdict = replace(PASSED, clock="real", trace_hash=None, devices=(lost,))
    validate(json.loads(verdict.to_json()))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("verdict",), "unsure"),
        (("trace_hash",), "AB" * 32),
        (("seed",), -1),
        (("devices", 0, "version_after"), "0000000a"),
        (("devices", 0, "version_after"), 2),
        (("devices", 0, "outcome"), "done"),
        (("devices", 0, "kind"), "bridge-5"),
        (("devices", 0, "alerts", 0, "code"), "0x8F8A"),
        (("devices", 0, "alerts", 0, "time"), "yesterday"),
        (("requirements", 0, "verdict"), "unsure"),
        (("checks", 0, "detail"), None),
        (("scope",), "MP170-R6"),
        (("scope", 0), ""),
        (("clock",), "real"),
    ],
)
def test_a_wrong_value_does_not_get_past_the_schema(where: tuple[Any, ...], value: object) -> None:
    document = json.loads(PASSED.to_json())
    at: Any = document
    for step in where[:-1]:
        at = at[step]
    at[where[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(document)


def test_the_schema_knows_every_kind_and_outcome_there_is() -> None:
    device = SCHEMA["$defs"]["device"]["properties"]
    assert tuple(device["kind"]["enum"]) == get_args(Kind)
    assert tuple(device["outcome"]["enum"]) == get_args(Outcome)


@given(st.integers(0, 2**32 - 1))
def test_a_version_is_eight_digits_whatever_it_is(version: int) -> None:
    text = version_text(version)
    assert (len(text), int(text, 16), text) == (8, version, text.upper())
