"""Registration Data: which supplier a metering point is registered to, and whose network it is on.

Source: SEC Section E; MP170, annex B, 3.8.106.4 (4) (Update Inventory asks for the Registered
Supplier, and tells the Network Operator). A metering point nobody registered has neither: the users
responsible for its premises stand in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dsp_stub.columns import eui64_of, eui64_text
from dsp_stub.errors import DspValueError
from dsp_stub.smi import MPAN_DIGITS
from dsp_stub.store import Store


@dataclass(frozen=True, slots=True)
class Registration:
    """One metering point, an MPAN or an MPRN."""

    mpxn: str
    supplier: int
    network_operator: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(f"[0-9]{{1,{MPAN_DIGITS}}}", self.mpxn):
            raise DspValueError(f"{self.mpxn!r} is no MPxN of 1 to {MPAN_DIGITS} digits")


class Registrations:
    """All that one DSP was told of."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, registration: Registration) -> None:
        """A new registration, or a change of one."""
        operator = registration.network_operator
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO registrations VALUES (?, ?, ?) ON CONFLICT (mpxn) DO UPDATE SET "
                "supplier = excluded.supplier, network_operator = excluded.network_operator",
                (
                    registration.mpxn,
                    eui64_text(registration.supplier),
                    None if operator is None else eui64_text(operator),
                ),
            )

    def get(self, mpxn: str) -> Registration | None:
        row = self._store.connection.execute(
            "SELECT mpxn, supplier, network_operator FROM registrations WHERE mpxn = ?", (mpxn,)
        ).fetchone()
        if row is None:
            return None
        mpxn, supplier, operator = row
        return Registration(
            mpxn, eui64_of(supplier), None if operator is None else eui64_of(operator)
        )
