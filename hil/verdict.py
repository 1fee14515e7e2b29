"""The verdict of a run: what became of every device, and whether that is what had to be.

Source: DESIGN, "What it promises to the outside" (`verdict.json`); the form is pinned by
schemas/verdict.schema.json.

A run passes when every device was activated, nothing that was judged failed, and every requirement
of its scope (what the scenario set out to show) was shown. What lies outside the scope and was not
run is listed as not run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA = 1

Outcome = Literal[
    "activated",
    "activation-failed",
    "transferred-unconfirmed",
    "transfer-failed",
    "discarded",
    "hardware-mismatch",
    "refused",
    "not-updatable",
    "cancelled",
    "timed-out",
    "not-attempted",
]
Kind = Literal[
    "hub", "ppmid", "bridge-1", "bridge-2", "bridge-3", "bridge-4", "hcalcs", "gsme", "ihd", "cad"
]
Clock = Literal["virtual", "real"]
ImagePolicy = Literal["maker-signed", "opaque"]
Result = Literal["pass", "fail"]
RequirementResult = Literal["pass", "fail", "not-applicable", "not-run"]


def version_text(version: int) -> str:
    """A firmware version as every document of the bench writes it: 8 upper-case hex digits."""
    return f"{version:08X}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert a device or the hub sent: `code` 4 upper-case hex digits (8F8B), `time` in UTC as
    the alert itself tells it, `result` its result code (null when it carries none), `verified`
    whether its signature was good, `dcc_alert` what the DCC made of it (N39)."""

    code: str
    use_case: str
    time: str
    result: int | None
    verified: bool
    dcc_alert: str | None = None


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What the device itself answered when asked for its version (DUIS 11.2, CS08)."""

    version: str
    result: int
    equals_smi: bool


@dataclass(frozen=True, slots=True)
class DeviceVerdict:
    """One device. Versions as `version_text` writes them, null where nobody ever learnt them;
    `blocks` and `bytes` as the hub served them, `sha256` of the image that was sent."""

    device_id: str
    kind: Kind
    outcome: Outcome
    version_before: str | None
    version_after: str | None
    image_policy: ImagePolicy
    blocks: int
    bytes: int
    sha256: str | None
    alerts: Sequence[Alert] = ()
    read_back: ReadBack | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Something the bench looked at on its own account, in words."""

    name: str
    verdict: Result
    detail: str


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement of the documents; `evidence` are pointers that a checker resolves."""

    id: str
    verdict: RequirementResult
    evidence: Sequence[str] = ()
    detail: str = ""  # why it was not run


@dataclass(frozen=True, slots=True)
class SuiteStep:
    """One declared step of a conformance test."""

    text: str
    outcome: Literal["passed", "failed", "not-run"]
    time_s: float
    evidence: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SuiteTest:
    """One conformance test: what it declared, what became of it, and what runs it alone again.
    `folder` is where its bench left its evidence, empty where it had none."""

    id: str
    title: str
    requirements: Sequence[str]
    claims: Sequence[str]
    steps: Sequence[SuiteStep]
    outcome: Literal["passed", "failed", "skipped"]
    detail: str
    repeat: str
    device: str | None = None
    folder: str = ""


@dataclass(frozen=True, slots=True)
class UnderTest:
    """A device that conformance tests were run on: what it is and came with, and its image."""

    device_id: str
    kind: Kind
    eui64: str
    dut: bool
    claims: Sequence[str]
    version: str
    image_version: str
    image_policy: ImagePolicy
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RadioVerdict:
    """One real stick: who was on it, what it told of itself, where it sent, how it was heard.
    `rssi_dbm` and `lqi` are medians of what it heard, null where nobody counted."""

    name: str
    url: str
    eui64: str
    ezsp: int
    firmware: str | None
    board: str | None
    key_table_size: int
    library_status: str
    channel: int
    rssi_dbm: int | None = None
    lqi: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything `verdict.json` says."""

    seed: int
    clock: Clock
    trace_hash: str | None
    wall_s: float
    virtual_s: float
    devices: Sequence[DeviceVerdict]
    unwitnessed: Sequence[str] = ()
    checks: Sequence[Check] = ()
    scope: Sequence[str] = ()
    requirements: Sequence[Requirement] = ()
    radios: Sequence[RadioVerdict] = ()
    suites: Sequence[SuiteTest] | None = None  # of `hanbench verify`
    under_test: Sequence[UnderTest] = ()
    verdict: Result = field(init=False)

    def __post_init__(self) -> None:
        in_scope = [one for one in self.requirements if one.id in self.scope]
        if self.suites is None:
            verdict = overall(self.devices, self.checks, in_scope)
        else:
            verdict = of_suites(self.suites, in_scope)
        object.__setattr__(self, "verdict", verdict)

    @property
    def exit_code(self) -> int:
        return 0 if self.verdict == "pass" else 1

    def to_json(self) -> str:
        """The document, its keys in the order a reader wants them."""
        fields = asdict(self)
        document: dict[str, Any] = {"schema": SCHEMA, "verdict": fields.pop("verdict")}
        for name in ("seed", "clock", "trace_hash", "unwitnessed", "wall_s", "virtual_s"):
            document[name] = fields.pop(name)
        if self.suites is None:
            del fields["suites"], fields["under_test"]
        for requirement in fields["requirements"]:
            if not requirement["detail"]:
                del requirement["detail"]
        return json.dumps(document | fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def overall(
    devices: Sequence[DeviceVerdict],
    checks: Iterable[Check] = (),
    in_scope: Iterable[Requirement] = (),
) -> Result:
    """Pass when every device was activated, no check failed, and each requirement of the scope was
    shown or does not apply; a run of no device shows nothing."""
    activated = bool(devices) and all(device.outcome == "activated" for device in devices)
    checked = all(check.verdict == "pass" for check in checks)
    shown = all(one.verdict in ("pass", "not-applicable") for one in in_scope)
    return "pass" if activated and checked and shown else "fail"


def all_skipped(suites: Collection[tuple[str, str]]) -> str:
    """Why tests that were asked for show nothing, of the outcome and detail of each: all were
    skipped, for these reasons; empty where one was not, or none was asked for."""
    if not suites or any(outcome != "skipped" for outcome, _ in suites):
        return ""
    why = "; ".join(sorted({detail for _, detail in suites}))
    return f"every test that was asked for was skipped: {why}"


def of_suites(suites: Iterable[SuiteTest], in_scope: Iterable[Requirement]) -> Result:
    """Pass when a test passed and none failed, and nothing that tests set out to show failed."""
    outcomes = {one.outcome for one in suites}
    shown = all(one.verdict in ("pass", "not-applicable") for one in in_scope)
    return "pass" if "passed" in outcomes and "failed" not in outcomes and shown else "fail"
