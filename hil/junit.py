"""The verdict in the form that CI servers read: `junit.xml`.

Source: ours; the common JUnit XML form (one `testsuite`, its `properties` and `testcase`s), which
has no standard but many readers.

A testcase each for every device (`hanbench.device`), every test of the suites (`hanbench.test`),
every requirement of the scope (`hanbench.requirement`) and every check (`hanbench.check`). A suite
fails when the run failed: what of the scope was not run did not show what it had to, so it is a
failure there too, and only what lies outside the scope is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from hil.requirements import TITLES
from hil.verdict import Check, DeviceVerdict, Requirement, SuiteTest, Verdict

SUITE = "hanbench"

# What XML 1.0 lets no document hold, not even escaped (2.2, Char).
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Case(NamedTuple):
    """One testcase; `problem` is why it failed or was skipped."""

    classname: str
    name: str
    result: Literal["passed", "failed", "skipped"]
    problem: str = ""
    detail: str = ""


def render_junit(verdict: Verdict) -> bytes:
    """The document."""
    cases = [
        *map(_device, verdict.devices),
        *map(_test, verdict.suites or ()),
        *(_requirement(one, verdict.scope) for one in verdict.requirements),
        *map(_check, verdict.checks),
    ]
    suite = Element(
        "testsuite",
        {
            "name": SUITE,
            "tests": str(len(cases)),
            "failures": str(sum(case.result == "failed" for case in cases)),
            "errors": "0",
            "skipped": str(sum(case.result == "skipped" for case in cases)),
            "time": f"{verdict.wall_s:.3f}",
        },
    )
    properties = SubElement(suite, "properties")
    for name, value in _properties(verdict).items():
        SubElement(properties, "property", {"name": _xml(name), "value": _xml(value)})
    for case in cases:
        _add(suite, case)
    ElementTree.indent(suite)
    octets: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return octets + b"\n"


def _properties(verdict: Verdict) -> Mapping[str, str]:
    """What a reader needs to run the same again."""
    images = {
        f"sha256.{device.device_id}": device.sha256
        for device in verdict.devices
        if device.sha256 is not None
    }
    images |= {f"sha256.{device.device_id}": device.sha256 for device in verdict.under_test}
    sticks = {
        f"stick.{radio.name}": f"{radio.url}, EZSP {radio.ezsp}, {radio.firmware or 'not told'}"
        for radio in verdict.radios
    }
    return {
        "seed": str(verdict.seed),
        "clock": verdict.clock,
        "trace_hash": verdict.trace_hash or "",
        "verdict": verdict.verdict,
        **images,
        **sticks,
    }


def _device(device: DeviceVerdict) -> _Case:
    versions = f"{device.version_before or 'unknown'} -> {device.version_after or 'unknown'}"
    detail = f"{device.kind}, {versions}, {device.blocks} blocks, {device.bytes} bytes"
    classname = f"{SUITE}.device"
    if device.outcome == "activated":
        return _Case(classname, device.device_id, "passed")
    return _Case(classname, device.device_id, "failed", device.outcome, detail)


def _test(test: SuiteTest) -> _Case:
    at = next(
        (
            f"at step {n}: {one.text}"
            for n, one in enumerate(test.steps, 1)
            if one.outcome == "failed"
        ),
        "",
    )
    detail = "\n".join(filter(None, (test.detail, at, test.repeat)))
    return _Case(f"{SUITE}.test", test.id, test.outcome, test.detail, detail)


def _requirement(requirement: Requirement, scope: Iterable[str]) -> _Case:
    title = TITLES.get(requirement.id)
    name = requirement.id if title is None else f"{requirement.id} {title}"
    classname = f"{SUITE}.requirement"
    detail = "\n".join(requirement.evidence)
    if requirement.verdict == "pass":
        return _Case(classname, name, "passed")
    missing = requirement.verdict == "not-run" and requirement.id in scope
    if requirement.verdict == "fail" or missing:
        return _Case(classname, name, "failed", requirement.verdict, detail)
    return _Case(classname, name, "skipped", requirement.verdict)


def _check(check: Check) -> _Case:
    classname = f"{SUITE}.check"
    if check.verdict == "pass":
        return _Case(classname, check.name, "passed")
    return _Case(classname, check.name, "failed", check.detail)


def _add(suite: Element, case: _Case) -> None:
    names = {"classname": case.classname, "name": _xml(case.name), "time": "0"}
    element = SubElement(suite, "testcase", names)
    if case.result == "skipped":
        SubElement(element, "skipped", {"message": _xml(case.problem)})
    elif case.result == "failed":
        message = {"message": _xml(case.problem), "type": case.classname}
        SubElement(element, "failure", message).text = _xml(case.detail or case.problem)


def _xml(text: str) -> str:
    """What XML cannot hold becomes the replacement character."""
    return _NO_XML.sub("\ufffd", text)
