"""What became of each device, and which requirements a run has shown.

Source: the bench's list of requirements: a row is `pass` when what the run drove of it held, with
evidence that a checker resolves; what the run did not come to is `not-run`. The scope of the
built-in scenario is `SCOPE`; a fail or a not-run in it fails the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from dsp_stub.smi import PpmidVariant
from emulator.devices.ota_server import ResponseCode
from gbcs.wan import DeviceType
from hil.bench_file import Bench
from hil.dcc import VARIANTS
from hil.requirements import TITLES
from hil.track import SWAPPED, Track
from hil.verdict import (
    Check,
    DeviceVerdict,
    Outcome,
    RadioVerdict,
    Requirement,
    RequirementResult,
    Verdict,
    version_text,
)

SCOPE = (
    "MP170-R2",
    "MP170-R6",
    "MP170-R7",
    "MP170-R11",
    "MP170-R12",
    "MP170-SIZE",
    "MP170-N39",
    "MP170-BUSY",
)
TYPE_2 = DeviceType.TYPE_2.name

_OUTCOMES: dict[str, Outcome] = {
    "FirmwareImageDiscarded": "discarded",
    "HardwareVersionMismatch": "hardware-mismatch",
    "FileTransferFailure": "transfer-failed",
    SWAPPED: "discarded",
}
_REASONS: dict[str, ResponseCode] = {
    "FirmwareImageDiscarded": ResponseCode.IMAGE_DISCARDED,
    "HardwareVersionMismatch": ResponseCode.HARDWARE_VERSION_MISMATCH,
    "FileTransferFailure": ResponseCode.FILE_TRANSFER_FAILURE,
}


@dataclass(frozen=True, slots=True)
class Probe:
    """A request that had to be refused, and whether it was as it had to be."""

    name: str
    held: bool
    detail: str
    event_id: int
    devices: tuple[str, ...] = ()


class Judgement(NamedTuple):
    outcome: Outcome
    detail: str


def judge_device(track: Track) -> Judgement:
    """What became of a device whose update the DSP began."""
    if track.upgrade is not None:
        return _judge_upgrade(track)
    if track.lost is not None:
        return Judgement("timed-out", track.lost)
    if track.transfer_failed is not None:
        if track.transfer_failed == "FileTransferFailure" and track.type_at_hub == TYPE_2:
            return Judgement("not-updatable", "its hub takes it for a Type 2 device")
        transfer = track.transfer
        known = transfer is not None and transfer.response_code == _REASONS.get(
            track.transfer_failed
        )
        reason = transfer.reason if transfer is not None and known else track.transfer_failed
        return Judgement(_OUTCOMES.get(track.transfer_failed, "transfer-failed"), reason)
    if track.transferred_event:
        return Judgement("transferred-unconfirmed", "no activation alert came")
    return Judgement("timed-out", "nothing moved any more")


def _judge_upgrade(track: Track) -> Judgement:
    upgrade, image = track.upgrade, track.image.image
    assert upgrade is not None
    wanted = version_text(image.header.file_version)
    if not upgrade.succeeded:
        return Judgement("activation-failed", "its alert says so")
    if upgrade.firmware_version != wanted:
        return Judgement("activation-failed", f"its alert tells version {upgrade.firmware_version}")
    restarted = track.restarted
    if restarted is not None and restarted.sha256 != image.sha256:
        return Judgement("activation-failed", "what it runs is not what was sent")
    return Judgement("activated", "the file it runs is the file sent")


# -- requirements ------------------------------------------------------------------------------


class _Finding(NamedTuple):
    """What one device or probe shows of a requirement; None where the run did not come to it."""

    held: bool | None
    evidence: tuple[str, ...]


def scope_of(bench: Bench) -> tuple[str, ...]:
    """What a run of this bench sets out to show: no variant under a schema that has none."""
    has_variant = bench.dsp.profile == "mp170"
    return tuple(name for name in SCOPE if has_variant or name != "MP170-R11")


def requirements(
    tracks: Sequence[Track],
    probes: Sequence[Probe],
    leaks: Sequence[str],
    scope: Sequence[str] = SCOPE,
    outcome_code: str = "N39",
) -> list[Requirement]:
    """Every requirement there is, those of the scope first; `outcome_code` is the DCC alert that
    has to carry the activation outcome."""
    tried = [track for track in tracks if track.outcome != "not-attempted"]
    by_name = {probe.name: probe for probe in probes}
    per_device: dict[str, Callable[[Track], _Finding]] = {
        "MP170-R2": _deployed,
        "MP170-R6": _confirmed,
        "MP170-R7": _read,
        "MP170-R11": _told_apart,
        "MP170-N39": partial(_alerted, outcome_code),
    }
    rows: dict[str, Requirement] = {}
    for name, judge in per_device.items():
        rows[name] = _row(name, map(judge, tried))
    rows["MP170-R12"] = _row("MP170-R12", [_refused(by_name.get("unknown-hash"))])
    rows["MP170-SIZE"] = _row("MP170-SIZE", [_refused(by_name.get("one-byte-too-large"))])
    rows["MP170-BUSY"] = _row("MP170-BUSY", [_undisturbed(by_name.get("busy"), tried)])
    if leaks:
        rows["MP170-R11"] = Requirement("MP170-R11", "fail", tuple(leaks))
    return [
        *(rows[name] for name in scope),
        *(Requirement(name, "not-run") for name in TITLES if name not in scope),
    ]


def _row(name: str, findings: Iterable[_Finding]) -> Requirement:
    found = list(findings)
    held = [finding.held for finding in found]
    verdict: RequirementResult = "pass"
    if not held or None in held:
        verdict = "not-run"
    if False in held:
        verdict = "fail"
    evidence = dict.fromkeys(pointer for finding in found for pointer in finding.evidence)
    return Requirement(name, verdict, tuple(evidence))


def _events(*event_ids: int) -> tuple[str, ...]:
    return tuple(f"events.jsonl#{event_id}" for event_id in event_ids if event_id)


def _deployed(track: Track) -> _Finding:
    pointers = _events(track.accepted_event, track.transferred_event, track.outcome_event)
    return _Finding(bool(track.accepted_event and track.outcome == "activated"), pointers)


def _confirmed(track: Track) -> _Finding:
    """A verified alert, and an inventory that follows a success and no failure."""
    upgrade = track.upgrade
    if upgrade is None:
        return _Finding(None if track.outcome == "refused" else False, _events(track.outcome_event))
    verified = any(alert.code == "8F8B" and alert.verified for alert in track.alerts)
    before = version_text(track.image.factory_version)
    wanted = upgrade.firmware_version if upgrade.succeeded else before
    held = verified and track.smi_version == wanted and not track.flagged
    pointers = (*track.alert_frames, *_events(upgrade.event_id, track.smi_event))
    return _Finding(held, pointers)


def _read(track: Track) -> _Finding:
    read = track.read_back
    if read is None:
        held = False if track.read_back_events else None
        return _Finding(held, _events(*track.read_back_events))
    return _Finding(read.equals_smi, _events(*track.read_back_events, track.smi_event))


def _told_apart(track: Track) -> _Finding:
    """The variant of 12.2 is the variant of 8.2, and to the hub the device is a PPMID."""
    if not track.smi_event:
        return _Finding(None, _events(track.prenotified_event))
    held = track.smi_variant == VARIANTS[track.kind] and track.type_at_hub == "PPMID"
    pointers = _events(track.prenotified_event, track.smi_event)
    return _Finding(held, (*pointers, track.log_entry))


def _alerted(outcome_code: str, track: Track) -> _Finding:
    """N39, and the notices of the DSP and the hub before it."""
    upgrade = track.upgrade
    if track.outcome == "refused":
        return _Finding(None, ())
    events = (track.delivered_event, track.transferred_event)
    named = any(alert.dcc_alert == outcome_code for alert in track.alerts)
    told = all(events) and upgrade is not None and named
    return _Finding(told, _events(*events, 0 if upgrade is None else upgrade.event_id))


def _refused(probe: Probe | None) -> _Finding:
    if probe is None:
        return _Finding(None, ())
    return _Finding(probe.held, _events(probe.event_id))


def _undisturbed(probe: Probe | None, tracks: Sequence[Track]) -> _Finding:
    """The second request is refused, and the first goes on to its end."""
    if probe is None:
        return _Finding(None, ())
    busy = [track for track in tracks if track.device_id in probe.devices]
    undisturbed = all(track.outcome == "activated" for track in busy)
    pointers = _events(probe.event_id, *(track.outcome_event for track in busy))
    return _Finding(probe.held and undisturbed, pointers)


# -- the verdict -------------------------------------------------------------------------------


def verdict_of(
    bench: Bench,
    tracks: Sequence[Track],
    probes: Sequence[Probe],
    leaks: Sequence[str],
    *,
    trace_hash: str | None,
    wall_s: float,
    virtual_s: float,
    radios: Sequence[RadioVerdict] = (),
) -> Verdict:
    """Everything `verdict.json` says."""
    return Verdict(
        seed=bench.seed,
        clock=bench.resolve_clock(),
        trace_hash=trace_hash,
        wall_s=wall_s,
        virtual_s=virtual_s,
        devices=[_device_verdict(track) for track in tracks],
        checks=[*_checks(bench, tracks, probes)],
        scope=scope_of(bench),
        requirements=requirements(
            tracks, probes, leaks, scope_of(bench), bench.dsp.codes.ppmid_alert
        ),
        radios=radios,
    )


def _checks(bench: Bench, tracks: Sequence[Track], probes: Sequence[Probe]) -> Iterable[Check]:
    for probe in probes:
        yield Check(f"11.4 refused: {probe.name}", "pass" if probe.held else "fail", probe.detail)
    for track in tracks:
        for flag in track.flagged:
            yield Check(f"order of alerts of {track.device_id}", "fail", flag)
    if bench.dsp.commissioned == "relaxed":
        detail = "relaxed: a device that is Whitelisted takes firmware, PPMIDs too without a meter"
        yield Check("commissioned", "pass", detail)


def _device_verdict(track: Track) -> DeviceVerdict:
    image = track.image.image
    return DeviceVerdict(
        device_id=track.device_id,
        kind=track.kind,
        outcome=track.outcome,
        version_before=version_text(track.image.factory_version),
        version_after=track.version_after,
        image_policy=track.image.policy,
        blocks=track.blocks,
        bytes=track.offset_bytes,
        sha256=image.sha256,
        alerts=tuple(track.alerts),
        read_back=track.read_back,
    )


def variant_texts() -> tuple[bytes, ...]:
    """What must be in nothing that hub and WAN see: a variant other than PPMID, and its element."""
    bridges = [variant for variant in PpmidVariant if variant is not PpmidVariant.PPMID]
    return (*(variant.encode() for variant in bridges), b"PPMIDVariant")
