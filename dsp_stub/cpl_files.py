"""The Central Products List and the Applicability Tables as files: CSV and JSON, in and out.

Source: ours; octets with colons are the list's own form (CPL guidance, MP170 annex B).

    of the CPL, a line an entry    device_type, manufacturer, model_id, hardware_version,
                                   hardware_revision, firmware_version, smets_chts_version,
                                   gbcs_version, status, image_hash, certificates
    of the tables, a line a        specification, ivp_start, ivp_end, mvp_start, mvp_end,
      specification and GBCS       gbcs_version, gbcs_start, gbcs_end

A line that is wrong is named, and nothing is taken over.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

from dsp_stub.applicability import MAX_ROWS as MAX_TABLE_ROWS
from dsp_stub.applicability import Period, Specification
from dsp_stub.assurance import certificates_from_text, certificates_to_text
from dsp_stub.cpl import CplEntry, CplStatus, from_cpl_text, to_cpl_text
from dsp_stub.errors import DspValueError
from dsp_stub.row_files import Row, read_rows, write_rows
from dsp_stub.smi import DeviceType

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
