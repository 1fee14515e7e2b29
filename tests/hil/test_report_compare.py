"""`hanbench report compare`: what passed and does not any more is worse; all else is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import lxml.html
import pytest
from click.testing import CliRunner, Result
from report_support import KEYS, failed_run, passed_run

from hil.cli import cli
from hil.report import write_report


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    made = []
    for name, make in (("good", passed_run), ("bad", failed_run)):
        folder = tmp_path_factory.mktemp(name) / "run"
        verdict = make(folder)[1]
        write_report(folder, verdict, KEYS, repeat="")
        (folder / "verdict.json").write_text(verdict.to_json())
        made.append(folder)
    return made[0], made[1]


def compared(*words: object) -> Result:
    return CliRunner().invoke(cli, ["report", "compare", *map(str, words)])


def test_what_passed_and_fails_now_is_worse_and_named(runs: tuple[Path, Path]) -> None:
    done = compared(*runs)
    assert done.exit_code == 1
    assert "  worse:   verdict: pass -> fail\n" in done.output
    assert "  worse:   device bridge-1: activated -> timed-out\n" in done.output
    assert "  worse:   requirement MP170-R6: pass -> fail, an alert confirms" in done.output
    assert done.output.endswith("\nWORSE\n")


def test_what_failed_and_passes_now_is_better(runs: tuple[Path, Path]) -> None:
    done = compared(*reversed(runs))
    assert done.exit_code == 0
    assert "  better:  device bridge-1: timed-out -> activated\n" in done.output
    assert "worse" not in done.output


def test_a_run_is_as_good_as_itself(runs: tuple[Path, Path]) -> None:
    done = compared(runs[1], runs[1])
    assert (done.exit_code, "the same verdicts in both" in done.output) == (0, True)


def test_json_is_one_document_with_the_figures_of_both(runs: tuple[Path, Path]) -> None:
    done = compared(*runs, "--json")
    document: dict[str, Any] = json.loads(done.output)
    assert (done.exit_code, document["result"]) == (1, "worse")
    blocks = [each for each in document["figures"] if each["name"] == "blocks sent"]
    assert [(each["device"], each["a"], each["b"]) for each in blocks] == [
        ("ppmid", 19, 19),
        ("bridge-1", 19, 19),
    ]


def test_a_requirement_that_is_not_there_any_more_is_worse(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "run"
    shutil.copytree(runs[0], other)
    document = json.loads((other / "verdict.json").read_text())
    document["requirements"] = document["requirements"][:1]
    (other / "verdict.json").write_text(json.dumps(document))
    done = compared(runs[0], other)
    assert done.exit_code == 1
    assert "worse:   requirement MP170-R6: pass -> not there" in done.output


def test_the_page_has_the_plots_of_both_over_each_other(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    compared(*runs, "--html", page)
    document = lxml.html.document_fromstring(page.read_text())
    assert document.xpath("//h1")[0].text == "WORSE"
    assert len(document.xpath("//svg")) == 8
    for drawing in document.xpath("//svg[contains(@aria-label, 'block timeline')]"):
        names = [each.text for each in drawing.xpath(".//text[contains(@class, 'name')]")]
        assert sorted(names) == ["A", "B"]
    assert document.xpath("//@src | //link[not(@href='data:,')]") == []
