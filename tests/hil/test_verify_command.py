"""`hanbench verify`: what it says, what it leaves, and that it can fail."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import jsonschema
import lxml.html
import pytest
from bench_support import make_image
from click.testing import CliRunner

from hil.cli import cli
from hil.pointers import resolve
from hil.report import render_again
from hil.requirements import TITLES
from hil.suite_results import NOT_SHOWN
from hil.verdict import Requirement, SuiteStep, SuiteTest, Verdict

HIL = Path(__file__).parents[2] / "hil"
SCHEMA = json.loads((HIL / "schemas/verdict.schema.json").read_text())
EVENTS = json.loads((HIL / "schemas/events.schema.json").read_text())


def verify(*words: object, code: int = 0) -> str:
    """Run it as a process of its own: pytest within pytest would share its plugins."""
    told = subprocess.run(
        [sys.executable, "-m", "hil.cli", "verify", *map(str, words)],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
    )
    assert told.returncode == code, told.stdout + told.stderr
    return told.stdout if code != 2 else told.stderr


def test_a_verdict_of_suites_is_as_its_schema_says_and_its_evidence_is_there(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "evidence"
    words = ("--kind", "bridge-1", "-k", "test_an_image_is_deployed", "--evidence", folder)
    document = json.loads(verify(*words, "--json"))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["verdict"] == "pass"
    assert document["scope"] == ["MP170-R2"]
    (test,) = document["suites"]
    assert test["id"] == "test_update.py::test_an_image_is_deployed[bridge-1]"
    assert {step["outcome"] for step in test["steps"]} == {"passed"}
    for step in test["steps"]:
        for pointer in step["evidence"]:
            assert resolve(folder, pointer) is None
    by_id = {row["id"]: row for row in document["requirements"]}
    assert set(by_id) == set(TITLES)
    assert by_id["MP170-NF2"]["detail"] == NOT_SHOWN["MP170-NF2"]
    for path in folder.rglob("events.jsonl"):
        for line in path.read_text().splitlines():
            jsonschema.Draft202012Validator(EVENTS).validate(json.loads(line))
    (device,) = document["under_test"]
    assert (device["device_id"], device["version"]) == ("bridge-1", "00010100")
    _require_pages(folder, test)
    assert test["repeat"] == f"hanbench verify --seed 1 -k '{test['id'].partition('::')[2]}'"


def test_what_was_skipped_altogether_says_why_it_is_no_pass(tmp_path: Path) -> None:
    bench = tmp_path / "bench.toml"
    bench.write_text('[[device]]\nid = "ppmid"\nkind = "ppmid"\n')
    words = (bench, "-k", "test_the_newer_image or test_an_update_disturbs")
    told = verify(*words, "--evidence", tmp_path / "evidence", code=1)
    why = "every test that was asked for was skipped: it takes two devices"
    assert told.endswith(f"\n{why}\n\nFAIL\n")
    assert why in (tmp_path / "evidence" / "report.html").read_text()


def test_a_device_that_was_only_in_tests_of_several_has_passed_none_of_its_own(
    tmp_path: Path,
) -> None:
    verify("-k", "lost_in_a_swap", "--evidence", tmp_path)
    table = lxml.html.parse(tmp_path / "report.html").xpath("//h2[@id='devices']/following::tbody")
    cells = [row.xpath("td")[1].text_content().strip() for row in table[0].xpath("tr")]
    assert cells == ["in those of several devices"] * 2


@pytest.mark.matrix
def test_a_test_is_run_again_by_the_command_it_prints(tmp_path: Path) -> None:
    words = ("-k", "test_on_smets1_it_takes_none", "--evidence", tmp_path / "first", "--json")
    (test,) = json.loads(verify(*words))["suites"]
    again = shlex.split(test["repeat"])[2:]
    assert "1 passed" in verify(*again, "--evidence", tmp_path / "again")


def _require_pages(folder: Path, test: dict[str, Any]) -> None:
    """The page of the tests leads to that of their bench; made again, both say what they said."""
    inside = folder / test["folder"]
    jsonschema.Draft202012Validator(SCHEMA).validate(
        json.loads((inside / "verdict.json").read_text())
    )
    for place in (folder, inside):
        made = (place / "report.html").read_bytes()
        assert render_again(place) == made
        page = lxml.html.document_fromstring(made.decode())
        assert len(page.xpath("//figure//svg")) >= 4
        assert page.xpath("//svg[contains(@class, 'sequence')]")
        links = [href for href in page.xpath("//a/@href") if not href.startswith("#")]
        assert [href for href in links if not (place / unquote(href)).is_file()] == []
    cases = ElementTree.parse(folder / "junit.xml").findall("testcase[@classname='hanbench.test']")
    assert [one.get("name") for one in cases] == [test["id"]]


def test_the_list_has_every_requirement_that_is_not_said_to_be_left_out() -> None:
    # Here and not in a process of its own: no test is run.
    told = CliRunner().invoke(cli, ["verify", "--list", "--json"])
    rows: list[dict[str, Any]] = json.loads(told.stdout)
    assert len(rows) > 50
    shown = {name for row in rows for name in row["requirements"]}
    assert shown <= set(TITLES)
    assert not shown & set(NOT_SHOWN)
    assert shown | set(NOT_SHOWN) == set(TITLES)
    assert all(row["steps"] for row in rows)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--requirement", "MP170-R99"), "there is no requirement MP170-R99"),
        (("-k", "nothing_of_this_name"), "no test is what was asked for"),
        (("nowhere.toml",), "nowhere.toml cannot be read"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    told = CliRunner().invoke(cli, ["verify", *words, "--evidence", str(tmp_path / "e")])
    assert told.exit_code != 0
    assert sentence in str(told.exception or told.output)


@pytest.mark.parametrize(
    ("keys", "rounds", "sentence"),
    [
        ("", 1, "--repeat takes a device with image_back, the image that leads it back"),
        (
            'image_back = "b.ota"',
            2,
            '--repeat 2: bridge does not claim "downgrade", and from the second round on an image '
            "is older than what runs; --repeat 1, or claim it",
        ),
    ],
)
def test_rounds_that_cannot_be_are_refused_before_anything_is_sent(
    keys: str, rounds: int, sentence: str, tmp_path: Path
) -> None:
    for name, version in (("a", 0x00010200), ("b", 0x00010300)):
        (tmp_path / f"{name}.ota").write_bytes(make_image(2048, version=version).data)
    (tmp_path / "pki").mkdir()
    file = tmp_path / "bench.toml"
    file.write_text(
        '[hub]\nradio = "tcp://127.0.0.1:1"\n[[device]]\nid = "bridge"\nkind = "bridge-1"\n'
        'dut = true\neui64 = "00-DB-12-34-56-78-90-B1"\nimage = "a.ota"\nversion = "00010100"\n'
        'install_code = "83FED3407A939723A5C639B26916D505"\ncertificates = "pki"\n' + keys
    )
    words = ["verify", str(file), "--repeat", str(rounds), "--evidence", str(tmp_path / "e")]
    told = CliRunner().invoke(cli, words)
    assert str(told.exception) == sentence
    assert not (tmp_path / "e").exists()


STEP = SuiteStep("one", "passed", 1.0, ())


def test_a_verdict_of_suites_passes_what_passed_alone() -> None:
    def verdict(*outcomes: Any, row: Any = "pass") -> str:
        suites = [
            SuiteTest("t", "title", ["MP170-R2"], [], [STEP], outcome, "", "hanbench verify")
            for outcome in outcomes
        ]
        rows = [Requirement("MP170-R2", row)]
        return Verdict(
            1, "virtual", None, 0, 0, (), (), (), ["MP170-R2"], rows, suites=suites
        ).verdict

    assert verdict("passed", "skipped") == "pass"
    assert verdict("skipped") == "fail"
    assert verdict() == "fail"
    assert verdict("passed", "failed") == "fail"
    assert verdict("passed", row="fail") == "fail"


@pytest.mark.matrix
def test_the_suites_pass_on_the_built_in_bench_by_two_workers(tmp_path: Path) -> None:
    told = verify("-n", "2", "--evidence", tmp_path / "e", "--json")
    document = json.loads(told)
    assert document["verdict"] == "pass"
    outcomes = [test["outcome"] for test in document["suites"]]
    assert outcomes.count("passed") > 80
    assert document["wall_s"] < 180
    shown = {row["id"] for row in document["requirements"] if row["verdict"] == "pass"}
    assert shown == set(TITLES) - set(NOT_SHOWN)
