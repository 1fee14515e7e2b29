"""Who may put what on the Central Products List, and what follows when an entry leaves it.

Source: MP202, requirement 3 (SMETS1 models by the DCC, and on the EPCL; others by anybody), SEC
Appendix Z; CPL guidance, 4.3 and 4.4; SECMP0007 consequential changes (versions that go together).

    asked of a new entry                                    of
    ------------------------------------------------------  ------------------------------------
    the DCC submits it                                      SMETS1
    it is on the EPCL                                       SMETS1
    it has its assurance certificates, where they are       SMETS2+
      required (`assurance = "required"`)
    its GBCS goes with its technical specification          all the tables have
    no entry is equal in all seven parameters               all
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, NamedTuple

from dsp_stub.applicability import Applicability
from dsp_stub.assurance import missing
from dsp_stub.campaigns import Campaigns
from dsp_stub.cpl import Cpl, CplEntry, CplIdentity, to_cpl_text
from dsp_stub.errors import DspValueError
from dsp_stub.inventory import Inventory
from dsp_stub.smi import is_smets1
from dsp_stub.store import Store
from dsp_stub.updates import Updates

Submitter = Literal["dcc", "party"]

MAX_EPCL_ENTRIES = 10_000


class EligibleProduct(NamedTuple):
    """A model with a firmware that is on the SMETS1 Eligible Product Combinations List."""

    manufacturer: str
    model: str
    firmware_version: str


class Epcl:
    """The EPCL, as far as single models are concerned."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, product: EligibleProduct) -> None:
        with self._store.transaction() as connection:
            if len(self.all()) >= MAX_EPCL_ENTRIES:
                raise DspValueError(f"the EPCL has {MAX_EPCL_ENTRIES} entries already")
            connection.execute("INSERT OR IGNORE INTO epcl VALUES (?, ?, ?)", product)

    def all(self) -> tuple[EligibleProduct, ...]:
        rows = self._store.connection.execute(
            "SELECT manufacturer, model, firmware_version FROM epcl ORDER BY 1, 2, 3"
        )
        return tuple(EligibleProduct(*row) for row in rows)

    def __contains__(self, entry: CplEntry) -> bool:
        row = self._store.connection.execute(
            "SELECT 1 FROM epcl WHERE (manufacturer, model, firmware_version) = (?, ?, ?)",
            (entry.manufacturer, entry.model, entry.firmware_version),
        ).fetchone()
        return row is not None


@dataclass(frozen=True, slots=True)
class Panel:
    """Who keeps the list, with what it looks at."""

    cpl: Cpl
    epcl: Epcl
    applicability: Applicability
    requires_certificates: bool = False

    def admit(self, entry: CplEntry, submitter: Submitter, today: date) -> None:
        """Put an entry on the list. Raises DspValueError, naming the rule."""
        if is_smets1(entry.smets_chts_version):
            if submitter != "dcc":
                raise DspValueError(
                    f"{entry.identity} is of SMETS1, which only the DCC puts on the CPL"
                )
            if entry not in self.epcl:
                raise DspValueError(f"{entry.identity} is of SMETS1 and not on the EPCL")
        elif self.requires_certificates and (lacks := missing(entry, today)):
            raise DspValueError(f"{entry.identity} lacks a valid certificate of {', '.join(lacks)}")
        self.applicability.require_fit(entry.smets_chts_version, entry.gbcs_version)
        self.cpl.add(entry)


def remove_entry(
    cpl: Cpl,
    updates: Updates,
    campaigns: Campaigns,
    inventory: Inventory,
    identity: CplIdentity,
    now: datetime,
) -> list[int]:
    """Set an entry to Removed. Updates to it that were accepted go on, begun or not, each with a
    flag in its record; the devices they are of."""
    entry = cpl.remove(identity)
    accepted = list(_accepted_for(entry, updates, campaigns, inventory))
    for device in accepted:
        detail = f"{to_cpl_text(entry.firmware_version)} was removed from the CPL meanwhile"
        updates.record(now, None, device, "cpl-entry-removed", detail)
    return accepted


def _accepted_for(
    entry: CplEntry, updates: Updates, campaigns: Campaigns, inventory: Inventory
) -> Iterable[int]:
    version = int(entry.firmware_version, 16)
    begun = [one.device for one in updates.all_open() if one.firmware_version == version]
    for device_id in (*begun, *sorted(campaigns.waiting_for(version))):
        device = inventory.get(device_id)
        if device is not None and (
            (device.manufacturer, device.model) == (entry.manufacturer, entry.model)
        ):
            yield device_id
