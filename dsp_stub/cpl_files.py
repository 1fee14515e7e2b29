"""The Central Products List and the Applicability Tables as files: CSV and JSON, in and out.

Source: ours; octets with colons are the list's own form (CPL guidance, MP170 annex B).

    of the CPL, a line an entry    device_type, manufacturer, model_id, hardware_version,
                                   hardware_revision, firmware_version, smets_chts_version,
                                   gbcs_version, status, image_hash, certificates
    of the tables, a line a        specification, ivp_start, ivp_end, mvp_start, mvp_end,
      specification and GBCS       gbcs_version, gbcs_start, gbcs_end

JSON is a list of objects with these keys. A line that is wrong is named, and nothing is taken over.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final

from dsp_stub.applicability import MAX_ROWS as MAX_TABLE_ROWS
from dsp_stub.applicability import Period, Specification
from dsp_stub.assurance import certificates_from_text, certificates_to_text
from dsp_stub.cpl import CplEntry, CplStatus, from_cpl_text, to_cpl_text
from dsp_stub.errors import DspValueError
from dsp_stub.smi import DeviceType

MAX_FILE_CHARACTERS = 32 * 1024 * 1024
MAX_ENTRIES = 100_000

CPL_COLUMNS: Final = (
    "device_type",
    "manufacturer",
    "model_id",
    "hardware_version",
    "hardware_revision",
    "firmware_version",
    "smets_chts_version",
    "gbcs_version",
    "status",
    "image_hash",
    "certificates",
)
TABLE_COLUMNS: Final = (
    "specification",
    "ivp_start",
    "ivp_end",
    "mvp_start",
    "mvp_end",
    "gbcs_version",
    "gbcs_start",
    "gbcs_end",
)
_OPTIONAL: Final = frozenset(
    {"status", "image_hash", "certificates", "ivp_end", "mvp_end", "gbcs_end"}
)

Row = Mapping[str, str]


# -- rows --------------------------------------------------------------------------------------


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


# -- the list ----------------------------------------------------------------------------------


def export_cpl(entries: Iterable[CplEntry], *, as_json: bool) -> str:
    return write_rows(CPL_COLUMNS, map(entry_row, entries), as_json=as_json)


def entry_row(entry: CplEntry) -> dict[str, str]:
    """An entry as the list writes it: octets with colons."""
    return {
        "device_type": entry.device_type,
        "manufacturer": to_cpl_text(entry.manufacturer),
        "model_id": to_cpl_text(entry.model_id),
        "hardware_version": to_cpl_text(entry.hardware_version),
        "hardware_revision": to_cpl_text(entry.hardware_revision),
        "firmware_version": to_cpl_text(entry.firmware_version),
        "smets_chts_version": entry.smets_chts_version,
        "gbcs_version": entry.gbcs_version,
        "status": entry.status,
        "image_hash": entry.image_hash or "",
        "certificates": certificates_to_text(entry.certificates),
    }


def read_cpl(text: str, *, as_json: bool) -> list[tuple[str, CplEntry]]:
    """The entries of a file, each with where it is; none is twice in it."""
    entries: list[tuple[str, CplEntry]] = []
    places: dict[object, str] = {}
    for place, row in read_rows(
        text, CPL_COLUMNS, as_json=as_json, most=MAX_ENTRIES, optional=_OPTIONAL
    ):
        try:
            entry = _entry(row)
        except ValueError as error:
            raise DspValueError(f"{place}: {error}") from None
        if entry.identity in places:
            raise DspValueError(f"{place}: {entry.identity} is on {places[entry.identity]} too")
        places[entry.identity] = place
        entries.append((place, entry))
    return entries


def _entry(row: Row) -> CplEntry:
    octets = {name: from_cpl_text(row[name]) for name in CPL_COLUMNS[1:6]}
    return CplEntry(
        device_type=DeviceType(row["device_type"]),
        manufacturer=octets["manufacturer"],
        model=octets["model_id"] + octets["hardware_version"] + octets["hardware_revision"],
        firmware_version=octets["firmware_version"],
        smets_chts_version=row["smets_chts_version"],
        gbcs_version=row["gbcs_version"],
        status=CplStatus(row.get("status") or CplStatus.CURRENT),
        image_hash=row.get("image_hash") or None,
        certificates=certificates_from_text(row.get("certificates", "")),
    )


# -- the tables --------------------------------------------------------------------------------


def export_tables(specifications: Iterable[Specification], *, as_json: bool) -> str:
    rows = [
        {
            "specification": one.version,
            **_period_row("ivp", one.installation),
            **_period_row("mvp", one.maintenance),
            "gbcs_version": gbcs_version,
            **_period_row("gbcs", period),
        }
        for one in specifications
        for gbcs_version, period in one.gbcs
    ]
    return write_rows(TABLE_COLUMNS, rows, as_json=as_json)


def read_tables(text: str, *, as_json: bool) -> list[Specification]:
    """The specifications of a file; the rows of one must agree on its periods."""
    found: dict[str, Specification] = {}
    for place, row in read_rows(
        text, TABLE_COLUMNS, as_json=as_json, most=MAX_TABLE_ROWS, optional=_OPTIONAL
    ):
        try:
            installation, maintenance = _period(row, "ivp"), _period(row, "mvp")
            gbcs: tuple[tuple[str, Period], ...] = ((row["gbcs_version"], _period(row, "gbcs")),)
            version = row["specification"]
            held = found.get(version)
            if held is not None:
                if (held.installation, held.maintenance) != (installation, maintenance):
                    raise DspValueError(f"{version} has other periods in another row")
                gbcs = held.gbcs + gbcs
            found[version] = Specification(version, installation, maintenance, gbcs)
        except ValueError as error:
            raise DspValueError(f"{place}: {error}") from None
    return list(found.values())


def _period_row(name: str, period: Period) -> dict[str, str]:
    end = "" if period.end is None else period.end.isoformat()
    return {f"{name}_start": period.start.isoformat(), f"{name}_end": end}


def _period(row: Row, name: str) -> Period:
    end = row.get(f"{name}_end")
    return Period(_day(row[f"{name}_start"]), _day(end) if end else None)


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
        if day.isoformat() == text:
            return day
    except ValueError:
        pass
    raise DspValueError(f"{text!r} is no day such as 2026-01-31")
