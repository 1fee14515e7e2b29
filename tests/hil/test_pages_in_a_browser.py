"""Every page the bench makes, as a browser shows and prints it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser_support import browser, sheets, show
from click.testing import CliRunner
from report_support import KEYS, failed_run, passed_run

from hil.cli import cli
from hil.report import write_report

pytestmark = [browser, pytest.mark.matrix, pytest.mark.real_clock]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of a run, redacted and compared, the one of conformance tests, and one of theirs."""
    root = tmp_path_factory.mktemp("pages")
    for name, make in (("good", passed_run), ("bad", failed_run)):
        verdict = make(root / name)[1]
        write_report(root / name, verdict, KEYS, repeat="hanbench run")
        (root / name / "verdict.json").write_text(verdict.to_json())
    compared, verified = root / "compare.html", root / "verified"
    for code, words in (
        (1, ("report", "compare", root / "good", root / "bad", "--html", compared)),
        (0, ("report", root / "bad", "--redact", "--out", root / "redacted")),
        (0, ("verify", "-k", "test_an_image_is_deployed", "--evidence", verified)),
    ):
        done = CliRunner().invoke(cli, [str(word) for word in words])
        assert done.exit_code == code, done.output
    return {
        "report": root / "good/report.html",
        "comparison": compared,
        "redacted": root / "redacted/report.html",
        "tests": verified / "report.html",
        "test": verified / "tests/test_an_image_is_deployed-ppmid/report.html",
    }


PAGES = ("report", "comparison", "redacted", "tests", "test")


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_shown_without_a_complaint_or_a_request(
    name: str, width: int, pages: dict[str, Path], tmp_path: Path
) -> None:
    seen = show(pages[name], tmp_path, width)
    assert (seen.console, seen.requests) == ([], set())
    assert len(seen.rows) > 100


def without_scripts(page: Path, folder: Path) -> Path:
    bare = folder / "bare.html"
    bare.write_bytes(re.sub(rb"<script>.*?</script>", b"", page.read_bytes(), flags=re.DOTALL))
    return bare


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_the_same_without_scripts(
    name: str, pages: dict[str, Path], tmp_path: Path
) -> None:
    """Scripts show the filters of tables; these are far down, where no window reaches."""
    seen = show(pages[name], tmp_path)
    assert show(without_scripts(pages[name], tmp_path), tmp_path).rows == seen.rows


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_a_few_sheets_of_paper(name: str, pages: dict[str, Path], tmp_path: Path) -> None:
    assert 1 <= sheets(pages[name], tmp_path) <= 30


def test_a_page_that_needs_its_script_is_seen_to(tmp_path: Path) -> None:
    """Without this one, the test of pages without scripts could not fail."""
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><p id=a></p><script>a.textContent = 'here'</script>")
    assert show(page, tmp_path).rows != show(without_scripts(page, tmp_path), tmp_path).rows
