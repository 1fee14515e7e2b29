"""AltHANCo's own inventory of bridges, and where the DCC's says something else.

Source: MP170, annex A, R3 (suppliers keep AltHANCo up to date; both must come to the same). A file,
CSV or JSON, takes the place of the one before, or is refused with the line that is wrong.

    a row   device_id, variant, manufacturer, model, firmware_version
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dsp_stub.columns import eui64_of, eui64_text
from dsp_stub.errors import DspValueError
from dsp_stub.inventory import Inventory
from dsp_stub.reports import is_bridge
from dsp_stub.row_files import read_rows
from dsp_stub.smi import (
    FIRMWARE_VERSION_DIGITS,
    MANUFACTURER_DIGITS,
    MODEL_DIGITS,
    PpmidVariant,
    require_digits,
)
from dsp_stub.store import Store

COLUMNS: Final = ("device_id", "variant", "manufacturer", "model", "firmware_version")
DISCREPANCY_COLUMNS: Final = ("device_id", "discrepancy", "item", "althanco", "dcc")
MAX_BRIDGES = 1_000_000
_EUI64 = re.compile(r"[0-9A-Fa-f]{16}|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){7}")


@dataclass(frozen=True, slots=True)
class AltHanBridge:
    """One bridge as AltHANCo has it."""

    device_id: int
    variant: str
    manufacturer: str
    model: str
    firmware_version: str

    def __post_init__(self) -> None:
        if self.variant not in tuple(PpmidVariant) or self.variant == PpmidVariant.PPMID:
            valid = [one for one in PpmidVariant if one is not PpmidVariant.PPMID]
            raise DspValueError(f"variant {self.variant!r} is none of {', '.join(valid)}")
        require_digits("manufacturer", self.manufacturer, MANUFACTURER_DIGITS)
        require_digits("model", self.model, MODEL_DIGITS)
        require_digits("firmware_version", self.firmware_version, FIRMWARE_VERSION_DIGITS)


def read_bridges(text: str, *, as_json: bool) -> list[AltHanBridge]:
    """The bridges of a file. Raises DspValueError, naming the line."""
    bridges: dict[int, AltHanBridge] = {}
    for place, row in read_rows(text, COLUMNS, as_json=as_json, most=MAX_BRIDGES):
        try:
            if not _EUI64.fullmatch(row["device_id"]):
                raise DspValueError(f"device_id {row['device_id']!r} is no EUI-64")
            device_id = int(row["device_id"].replace("-", ""), 16)
            if device_id in bridges:
                raise DspValueError(f"device {eui64_text(device_id)} is there twice")
            bridges[device_id] = AltHanBridge(device_id, *(row[name] for name in COLUMNS[1:]))
        except DspValueError as error:
            raise DspValueError(f"{place}: {error}") from None
    return list(bridges.values())


class AltHanInventory:
    """What AltHANCo said last."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def replace(self, bridges: list[AltHanBridge]) -> None:
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM althan_bridges")
            connection.executemany(
                "INSERT INTO althan_bridges VALUES (?, ?, ?, ?, ?)",
                [
                    (
                        eui64_text(one.device_id),
                        one.variant,
                        one.manufacturer,
                        one.model,
                        one.firmware_version,
                    )
                    for one in bridges
                ],
            )

    def all(self) -> list[AltHanBridge]:
        rows = self._store.connection.execute("SELECT * FROM althan_bridges ORDER BY device_id")
        return [AltHanBridge(eui64_of(device_id), *texts) for device_id, *texts in rows]

    def discrepancies(self) -> Iterator[dict[str, str]]:
        """Bridges only one side has, and items the sides do not agree on."""
        theirs = {one.device_id: one for one in self.all()}
        ours = {
            one.device_id: AltHanBridge(
                one.device_id,
                one.ppmid_variant or "",
                one.manufacturer,
                one.model,
                one.firmware_version or "0" * FIRMWARE_VERSION_DIGITS,
            )
            for one in Inventory(self._store).all_devices()
            if is_bridge(one)
        }
        for device_id in sorted({*theirs, *ours}):
            said, known = theirs.get(device_id), ours.get(device_id)
            if said is None or known is None:
                where = "not at AltHANCo" if said is None else "no bridge at the DCC"
                yield _discrepancy(device_id, where)
                continue
            for item in COLUMNS[1:]:
                pair = getattr(said, item), getattr(known, item)
                if pair[0] != pair[1]:
                    yield _discrepancy(device_id, "differs", item, *pair)


def _discrepancy(
    device_id: int, discrepancy: str, item: str = "", althanco: str = "", dcc: str = ""
) -> dict[str, str]:
    values = (eui64_text(device_id), discrepancy, item, althanco, dcc)
    return dict(zip(DISCREPANCY_COLUMNS, values, strict=True))
