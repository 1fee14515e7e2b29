"""Rows as files: CSV with a heading, or JSON as a list of objects, with texts for values.

Source: ours; CSV as RFC 4180 has it, in UTF-8. What is wrong is named by its line or item.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping

from dsp_stub.errors import DspValueError

MAX_FILE_CHARACTERS = 32 * 1024 * 1024

Row = Mapping[str, str]


def write_rows(columns: tuple[str, ...], rows: Iterable[Row], *, as_json: bool) -> str:
    """Rows as one document; what a row lacks is empty."""
    filled = [{name: row.get(name, "") for name in columns} for row in rows]
    if as_json:
        return json.dumps(filled, indent=2) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(filled)
    return text.getvalue()


def read_rows(
    text: str, columns: tuple[str, ...], *, as_json: bool, most: int, optional: Iterable[str] = ()
) -> list[tuple[str, dict[str, str]]]:
    """Each row with where it is, "line 2" or "item 1". Raises DspValueError."""
    if len(text) > MAX_FILE_CHARACTERS:
        raise DspValueError(f"the file has more than {MAX_FILE_CHARACTERS} characters")
    rows = _json_rows(text) if as_json else _csv_rows(text, columns)
    if len(rows) > most:
        raise DspValueError(f"the file has more than {most} rows")
    may_lack = frozenset(optional)
    for place, row in rows:
        unknown = next((name for name in row if name not in columns), None)
        if unknown is not None:
            raise DspValueError(f"{place}: {unknown!r} is none of {', '.join(columns)}")
        lacking = [name for name in columns if name not in may_lack and not row.get(name)]
        if lacking:
            raise DspValueError(f"{place}: {lacking[0]} is missing")
    return rows


def _csv_rows(text: str, columns: tuple[str, ...]) -> list[tuple[str, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[str, dict[str, str]]] = []
    heading: list[str] | None = None
    try:
        for fields in reader:
            place = f"line {reader.line_num}"
            cells = [cell.strip() for cell in fields]
            if not any(cells):
                continue
            if heading is None:
                heading = [cell.lstrip("\ufeff") for cell in cells]
                if len(set(heading)) != len(heading) or not set(heading) <= set(columns):
                    raise DspValueError(
                        f"{place}: the heading is not of the columns {', '.join(columns)}"
                    )
                continue
            if len(cells) != len(heading):
                raise DspValueError(f"{place}: has {len(cells)} columns, not {len(heading)}")
            rows.append((place, dict(zip(heading, cells, strict=True))))
    except csv.Error as error:
        raise DspValueError(f"line {reader.line_num}: {error}") from None
    return rows


def _json_rows(text: str) -> list[tuple[str, dict[str, str]]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DspValueError(f"line {line}: is no JSON") from None
    if not isinstance(document, list):
        raise DspValueError("line 1: is no list of objects")
    rows = []
    for number, item in enumerate(document, 1):
        place = f"item {number}"
        if not isinstance(item, dict):
            raise DspValueError(f"{place}: is no object")
        for name, value in item.items():
            if value is not None and not isinstance(value, str):
                raise DspValueError(f"{place}: {name} is no text")
        rows.append((place, {name: (value or "").strip() for name, value in item.items()}))
    return rows
