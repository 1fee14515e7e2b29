"""What the DCC and suppliers report to AltHANCo: deployed versions, attempts, homes out of step.

Source: MP170, annex A (R3, R4, R5) and annex C, 4.1.1.1 (ESI-034 and ESI-034i show the variant) and
4.1.1.5; the layout of an ESI report is not public, its rows here are ours. CPL guidance, 4.1, for
devices to be updated or replaced.

Every report is rows of texts, a function each, from committed state alone.

    report         a row is
    -------------  -----------------------------------------------------------------------------
    devices        a device: what it is, where, and how its last update went
    attempts       an update of one device, with its outcome
    log            a line of the log of attempts, of every life of a device
    monthly        the updates begun in a month to one version of one model, and how many succeeded
    esi-034        a device with its SMETS Variant Type; esi-034i those something happened to
    out-of-step    a bridge that is behind, in a home, with the class of cause
    replace        a device whose specification may not be maintained after a day
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final

from dsp_stub.applicability import Applicability
from dsp_stub.columns import eui64_of, eui64_text
from dsp_stub.cpl import Cpl, CplEntry
from dsp_stub.inventory import Inventory, mpxns_of, presence
from dsp_stub.smi import TYPE_2, DeviceStatus, DeviceType, PpmidVariant, SmiDevice
from dsp_stub.store import Store
from dsp_stub.updates import OPEN_STATES, UpdateState

COLUMNS: Final = {
    "devices": (
        "device_id", "device_type", "variant", "label", "manufacturer", "model", "status",
        "firmware_version", "cpl_status", "chf", "premises", "mpxn", "last_attempt_at",
        "last_attempt_version", "last_attempt_outcome",
    ),
    "attempts": (
        "request_id", "user", "device_id", "variant", "chf", "firmware_version", "image_sha256",
        "started_at", "ended_at", "outcome",
    ),
    "log": ("at", "device_id", "life", "request_id", "event", "detail"),
    "monthly": (
        "month", "variant", "manufacturer", "model", "firmware_version", "attempts", "activated",
        "failed", "in_progress", "success_rate_percent",
    ),
    "esi-034": (
        "device_id", "device_type", "smets_variant_type", "manufacturer", "model",
        "firmware_version", "smets_chts_version", "gbcs_version", "status", "chf",
    ),
    "out-of-step": (
        "premises", "mpxn", "chf", "device_id", "device_type", "variant", "label", "manufacturer",
        "model", "firmware_version", "newest_version", "cause", "in_step_in_home",
        "bridges_in_home",
    ),
    "replace": (
        "device_id", "device_type", "label", "manufacturer", "model", "firmware_version",
        "smets_chts_version", "gbcs_version", "maintained_until", "action",
    ),
}  # fmt: skip

# Who is at fault when an update came to such an end; a time-out by where it had come to.
CAUSES: Final = {
    UpdateState.NOT_DELIVERED: "WAN",
    UpdateState.TRANSFER_FAILED: "HAN",
    UpdateState.DISCARDED: "CH",
    UpdateState.HARDWARE_MISMATCH: "device",
    UpdateState.ACTIVATION_FAILED: "device",
    UpdateState.ACTIVATED: "device",
    UpdateState.CANCELLED: "missed",
    UpdateState.REFUSED: "missed",
}
CAUSES_OF_TIME_OUT: Final = {
    UpdateState.REQUESTED: "WAN",
    UpdateState.STORED: "HAN",
    UpdateState.TRANSFERRED: "device",
}

Rows = Iterator[dict[str, str]]


def label(device: SmiDevice) -> str:
    """What a device is, for somebody who knows no variants: a bridge is never called a PPMID."""
    variant = device.ppmid_variant
    if device.device_type is not DeviceType.PPMID or variant in (None, PpmidVariant.PPMID):
        return device.device_type
    return f"Alt HAN bridge {variant.rpartition(' ')[2]}"


def is_bridge(device: SmiDevice) -> bool:
    return label(device) != device.device_type


class Reports:
    """The reports of one DSP."""

    def __init__(self, store: Store) -> None:
        self._connection = store.connection
        self._inventory = Inventory(store)
        self._cpl = Cpl(store)
        self._applicability = Applicability(store)

    # -- deployed versions -----------------------------------------------------------------

    def devices(self, *, every: bool = False) -> Rows:
        """The bridges, or every device of any type."""
        for device in self._inventory.all_devices():
            if not every and not is_bridge(device):
                continue
            last = self._last_update(device.device_id)
            yield {
                **self._identity(device),
                "label": label(device),
                "status": device.status or "",
                "cpl_status": presence(device, None, self._cpl)["CPLStatus"] or "",
                **self._place(device),
                "last_attempt_at": last.get("started_at", ""),
                "last_attempt_version": last.get("firmware_version", ""),
                "last_attempt_outcome": last.get("outcome", ""),
            }

    def esi_034(self, month: str | None = None, *, incremental: bool = False) -> Rows:
        """Devices with firmware; the incremental one has those of which the log says something in
        the month."""
        wanted = None if not incremental else self._in_log(month)
        for device in self._inventory.all_devices():
            if device.device_type in TYPE_2 or (
                wanted is not None and device.device_id not in wanted
            ):
                continue
            identity = self._identity(device)
            variant = identity.pop("variant")
            yield {
                **identity,
                "smets_variant_type": variant or device.esme_variant or "",
                "smets_chts_version": device.smets_chts_version or "",
                "gbcs_version": device.gbcs_version or "",
                "status": device.status or "",
                "chf": "" if device.chf is None else eui64_text(device.chf),
            }

    def _identity(self, device: SmiDevice) -> dict[str, str]:
        is_ppmid = device.device_type is DeviceType.PPMID
        return {
            "device_id": eui64_text(device.device_id),
            "device_type": device.device_type,
            "variant": (device.ppmid_variant or PpmidVariant.PPMID) if is_ppmid else "",
            "manufacturer": device.manufacturer,
            "model": device.model,
            "firmware_version": device.firmware_version or "",
        }

    def _place(self, device: SmiDevice) -> dict[str, str]:
        home = None if device.premises is None else self._inventory.premises(device.premises)
        mpxn = None if home is None else home.import_mpxn or home.import_mprn
        if home is not None and device.device_type in (DeviceType.ESME, DeviceType.GSME):
            mpxn = mpxns_of(device, home)["ImportMPxN"]
        return {
            "chf": "" if device.chf is None else eui64_text(device.chf),
            "premises": "" if home is None else str(home.id),
            "mpxn": mpxn or "",
        }

    # -- attempts --------------------------------------------------------------------------

    def attempts(self, month: str | None = None) -> Rows:
        """Every update there was, or those begun in a month such as "2026-01"."""
        yield from self._updates(month)

    def _updates(self, month: str | None) -> list[dict[str, str]]:
        rows = self._connection.execute(
            "SELECT request_id, device, hub, firmware_version, image_sha256, started_at, "
            "COALESCE(ended_at, ''), state, (SELECT COALESCE(devices.ppmid_variant, 'PPMID') "
            "FROM attempts JOIN devices ON devices.device_id = attempts.device AND "
            "devices.life = attempts.life WHERE attempts.device = updates.device AND "
            "attempts.request_id = updates.request_id AND attempts.event = 'requested') "
            "FROM updates WHERE ? IS NULL OR SUBSTR(started_at, 1, 7) = ? ORDER BY id",
            (month, month),
        )
        return [
            {
                "request_id": request_id,
                "user": request_id.partition(":")[0].replace("-", ""),
                "device_id": device,
                "variant": variant or "",
                "chf": hub,
                "firmware_version": version,
                "image_sha256": sha256,
                "started_at": started_at,
                "ended_at": ended_at,
                "outcome": "in progress" if state in OPEN_STATES else state,
            }
            for (
                request_id, device, hub, version, sha256, started_at, ended_at, state, variant
            ) in rows
        ]  # fmt: skip

    def log(self, device: int | None = None) -> Rows:
        """The log of attempts, whole or of one device, with the life each line is of."""
        text = None if device is None else eui64_text(device)
        rows = self._connection.execute(
            "SELECT at, device, life, request_id, event, detail FROM attempts "
            "WHERE ? IS NULL OR device = ? ORDER BY id",
            (text, text),
        )
        for row in rows:
            texts = ("" if value is None else str(value) for value in row)
            yield dict(zip(COLUMNS["log"], texts, strict=True))

    def monthly(self, month: str) -> Rows:
        """How the updates begun in a month went, by version; the last row is of all of them."""
        outcomes: dict[tuple[str, str, str, str], Counter[str]] = {}
        for update in self._updates(month):
            device = self._inventory.get(eui64_of(update["device_id"]))
            made = ("", "") if device is None else (device.manufacturer, device.model)
            key = (update["variant"], *made, update["firmware_version"])
            outcomes.setdefault(key, Counter())[update["outcome"]] += 1
        total: Counter[str] = Counter()
        for key, counts in sorted(outcomes.items()):
            total += counts
            yield _monthly_row(month, key, counts)
        yield _monthly_row(month, ("all", "", "", ""), total)

    def _last_update(self, device: int, version: str | None = None) -> dict[str, str]:
        row = self._connection.execute(
            "SELECT started_at, firmware_version, state, request_id FROM updates "
            "WHERE device = ? AND (? IS NULL OR firmware_version = ?) ORDER BY id DESC LIMIT 1",
            (eui64_text(device), version, version),
        ).fetchone()
        if row is None:
            return {}
        return dict(
            zip(("started_at", "firmware_version", "outcome", "request_id"), row, strict=True)
        )

    def _in_log(self, month: str | None) -> set[int]:
        rows = self._connection.execute(
            "SELECT DISTINCT device FROM attempts WHERE device IS NOT NULL AND "
            "(? IS NULL OR SUBSTR(at, 1, 7) = ?)",
            (month, month),
        )
        return {eui64_of(device) for (device,) in rows}

    # -- homes out of step -----------------------------------------------------------------

    def out_of_step(self) -> Rows:
        """The bridges that are behind, home by home."""
        homes: dict[tuple[str, str], list[SmiDevice]] = {}
        for device in self._inventory.all_devices():
            if is_bridge(device) and device.chf is not None and _is_in_use(device):
                place = self._place(device)
                homes.setdefault((place["premises"], place["chf"]), []).append(device)
        for _, bridges in sorted(homes.items()):
            newest = {one.device_id: self._newest(one) for one in bridges}
            behind = [one for one in bridges if _is_behind(one, newest[one.device_id])]
            for device in behind:
                version = newest[device.device_id] or ""
                yield {
                    **self._place(device),
                    **self._identity(device),
                    "label": label(device),
                    "newest_version": version,
                    "cause": self._cause(device.device_id, version),
                    "in_step_in_home": str(len(bridges) - len(behind)),
                    "bridges_in_home": str(len(bridges)),
                }

    def _newest(self, device: SmiDevice) -> str | None:
        """The newest version that the CPL has as Current of a model, and that can be sent."""
        entries = self._cpl.find(
            device_type=device.device_type, manufacturer=device.manufacturer, model=device.model
        )
        versions = [
            entry.firmware_version
            for entry in entries
            if entry.is_current and entry.image_hash is not None
        ]
        return max(versions, default=None)

    def _cause(self, device: int, version: str) -> str:
        last = self._last_update(device, version)
        if not last:
            return "missed"
        state = UpdateState(last["outcome"])
        if state in OPEN_STATES:
            return "in progress"
        if state is not UpdateState.TIMED_OUT:
            return CAUSES[state]
        row = self._connection.execute(
            f"SELECT event FROM attempts WHERE device = ? AND request_id = ? AND event IN "
            f"({', '.join('?' * len(CAUSES_OF_TIME_OUT))}) ORDER BY id DESC LIMIT 1",
            (eui64_text(device), last["request_id"], *CAUSES_OF_TIME_OUT),
        ).fetchone()
        return CAUSES_OF_TIME_OUT[UpdateState(row[0])]

    # -- what must be updated or replaced --------------------------------------------------

    def replace(self, by: date) -> Rows:
        """Devices that may not be maintained as they are on a day, and what can be done."""
        for device in self._inventory.all_devices():
            if device.device_type in (*TYPE_2, DeviceType.GPF) or not _is_in_use(device):
                continue
            why_not = self._applicability.why_not_maintained(
                device.smets_chts_version, device.gbcs_version, by
            )
            if why_not is None:
                continue
            identity = self._identity(device)
            del identity["variant"]
            yield {
                **identity,
                "label": label(device),
                "smets_chts_version": device.smets_chts_version or "",
                "gbcs_version": device.gbcs_version or "",
                "maintained_until": self._until(device),
                "action": self._action(device, by),
            }

    def _until(self, device: SmiDevice) -> str:
        found = self._applicability.get(device.smets_chts_version)
        if found is None:
            return ""
        gbcs = found.gbcs_period(device.gbcs_version)
        ends = [period.end for period in (found.maintenance, gbcs) if period and period.end]
        return min(ends).isoformat() if ends else ""

    def _action(self, device: SmiDevice, by: date) -> str:
        entries: Iterable[CplEntry] = self._cpl.find(
            device_type=device.device_type, manufacturer=device.manufacturer, model=device.model
        )
        fit = [
            entry.firmware_version
            for entry in entries
            if entry.is_current
            and entry.image_hash is not None
            and self._applicability.why_not_maintained(
                entry.smets_chts_version, entry.gbcs_version, by
            )
            is None
        ]
        return f"update to {max(fit)}" if fit else "replace"


def _is_in_use(device: SmiDevice) -> bool:
    return device.status not in (DeviceStatus.DECOMMISSIONED, DeviceStatus.WITHDRAWN)


def _is_behind(device: SmiDevice, newest: str | None) -> bool:
    return newest is not None and (device.firmware_version or "") < newest


def _monthly_row(
    month: str, key: tuple[str, str, str, str], counts: Counter[str]
) -> dict[str, str]:
    activated, open_ = counts[UpdateState.ACTIVATED], counts["in progress"]
    ended = counts.total() - open_
    rate = f"{100 * activated / ended:.1f}" if ended else ""
    values = (month, *key, counts.total(), activated, ended - activated, open_, rate)
    return dict(zip(COLUMNS["monthly"], map(str, values), strict=True))
