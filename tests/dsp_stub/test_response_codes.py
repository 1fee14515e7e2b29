"""Every code the DSP can answer has one meaning in one table, and is reached by some test."""

from __future__ import annotations

import re
from pathlib import Path

from dsp_stub.options import Codes
from dsp_stub.response_codes import RESPONSE_CODES, meaning

# MP170, annex B: what its services answer with, and the two codes it says are skipped.
LEGAL_TEXT = {
    "any": ("E4", "E5"),
    "8.2": ("E080201", "E080202"),
    "8.4": tuple(f"E0804{number:02}" for number in range(5, 16)),
    "8.7.1": ("E080702",),
    "8.7.2": ("E080721", "E080722", "E080723"),
    "12.2": ("E120201", "E120203", "E120204", "E120207"),
}

REPOSITORY = Path(__file__).parents[2]
_CODE = re.compile(r'"([EWI](?:[0-9]{1,4}|[0-9]{6}))"')


def codes_in(path: Path) -> set[str]:
    return set(_CODE.findall(path.read_text()))


def test_every_code_of_the_legal_text_is_one_the_dsp_answers_with() -> None:
    """That each is answered by HTTP in some test, the whole suite sees to: `answered_codes`."""
    from_the_text = {
        code: one.service for code, one in RESPONSE_CODES.items() if one.origin == "MP170"
    }
    assert from_the_text == {code: name for name, codes in LEGAL_TEXT.items() for code in codes}


def test_every_code_that_is_answered_has_its_meaning() -> None:
    answered: set[str] = set()
    for path in (REPOSITORY / "dsp_stub").glob("*.py"):
        if path.name not in ("response_codes.py", "options.py"):
            answered |= codes_in(path)
    codes = Codes()
    answered |= {
        getattr(codes, name)
        for name in Codes.model_fields
        if re.fullmatch(r"E[0-9]+", getattr(codes, name))
    }
    assert answered <= set(RESPONSE_CODES), answered - set(RESPONSE_CODES)
    assert set(RESPONSE_CODES) <= answered, "a meaning nobody answers with"


def test_every_code_with_a_meaning_is_named_by_a_test() -> None:
    named: set[str] = set()
    for path in (REPOSITORY / "tests").rglob("test_*.py"):
        if path != Path(__file__):
            named |= codes_in(path)
    assert set(RESPONSE_CODES) <= named


def test_a_meaning_is_told_to_who_asks() -> None:
    assert meaning("E110106") == "the authorising signature is missing, or not the user's"
    assert meaning("E65") is None
