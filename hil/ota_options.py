"""How a hub serves firmware and how a device loads it, as tables of the bench file.

Source: ours; the keys are the fields of the cores' own parameters, where each is explained
(`emulator.devices.ota_rules`, `ota_offer` and `ota_pacing`), and so are their defaults. A key that
is not there leaves what the personality, or for the hub the core, has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field, Strict

from emulator.devices.ota_pacing import BlockPeriodUnit
from emulator.devices.ota_personalities import PERSONALITIES
from emulator.devices.ota_rules import OtaClientParameters
from emulator.devices.ota_server import OtaServerParameters
from hil.toml_file import Number, Table, Whole

Personality = Literal[
    "ember",
    "ember-pages",
    "ti",
    "ti-seconds",
    "nxp",
    "nxp-production",
    "xbee",
    "telink",
    "sleepy",
]
VersionPolicy = Literal["newer", "different", "older"]
Flag = Annotated[bool, Strict()]

_MINUTE_S = 60.0
_DAY_S = 24 * 3600.0
_YEAR_S = 366 * _DAY_S
_MAX_U16 = 0xFFFF
_MAX_U32 = 0xFFFFFFFF
MAX_DATA_OCTETS = 255
MAX_BLOCK_OCTETS = 56  # the largest block that fits one frame with APS security


def _whole(least: int, most: int, what: str = "") -> Any:
    says = f"a whole number {what} from {least} to {most}".replace("  ", " ")
    return Field(default=None, ge=least, le=most, description=says)


def _seconds(least: float, most: float) -> Any:
    says = f"a number of seconds from {least:g} to {most:.0f}"
    return Field(default=None, ge=least, le=most, allow_inf_nan=False, description=says)


def _flag() -> Any:
    return Field(default=None, description="true or false")


class ClientTable(Table):
    """`[device.ota]`: what is different about this device from the make it is of."""

    block_timeout_s: Number | None = _seconds(0.1, 3600)
    retry_backoff_s: Number | None = _seconds(0, 3600)
    max_errors: Whole | None = _whole(1, 1_000_000)
    query_interval_s: Number | None = _seconds(1, _YEAR_S)
    min_block_period: Whole | None = _whole(0, _MAX_U16)
    block_period_unit_s: Number | None = Field(
        default=None, ge=0.001, le=1, description="0.001 for milliseconds, or 1 for seconds"
    )
    announce_block_period: Flag | None = _flag()
    announce_eui64: Flag | None = _flag()
    max_block_period: Whole | None = _whole(0, _MAX_U16)
    pace_minimum_s: Number | None = _seconds(0, 3600)
    pace_maximum_s: Number | None = _seconds(0, 3600)
    page_bytes: Whole | None = _whole(0, _MAX_U16, "of octets")
    page_spacing_ms: Whole | None = _whole(0, _MAX_U16, "of milliseconds")
    page_timeout_s: Number | None = _seconds(0.1, 3600)
    honours_wait: Flag | None = _flag()
    wait_maximum_s: Number | None = _seconds(0, _DAY_S)
    wait_without_sense_s: Number | None = _seconds(0, _DAY_S)
    wait_minimum_s: Number | None = _seconds(0.001, _DAY_S)
    verify_s: Number | None = _seconds(0, _DAY_S)
    end_request_retry_s: Number | None = _seconds(1, _DAY_S)
    max_end_requests: Whole | None = _whole(1, 1_000_000)
    activate_without_answer: Flag | None = _flag()
    activate_by_server: Flag | None = _flag()
    hold_retry_s: Number | None = _seconds(1, _DAY_S)
    countdown_minimum_s: Number | None = _seconds(0, _DAY_S)
    countdown_maximum_s: Number | None = _seconds(0, _DAY_S)
    countdown_without_sense_s: Number | None = _seconds(0, _DAY_S)
    allow_downgrade: Flag | None = _flag()
    resume: Flag | None = _flag()
    erase_s: Number | None = _seconds(0, _MINUTE_S)
    sector_bytes: Whole | None = _whole(256, 1024 * 1024, "of octets")
    spares_battery: Flag | None = _flag()
    strict_elements: Flag | None = _flag()
    requires_signature: Flag | None = _flag()
    cluster_revision: Whole | None = _whole(1, _MAX_U16)


class HubTable(Table):
    """What of `[hub]` is its OTA server's."""

    max_data_size: Whole | None = _whole(1, MAX_DATA_OCTETS, "of octets")
    minimum_block_period_ms: Whole | None = _whole(0, _MAX_U16, "of milliseconds")
    block_period_unit: BlockPeriodUnit | None = Field(
        default=None, description='"ms", "s" or "discover"'
    )
    max_transfers: Whole | None = _whole(1, 15)
    busy_wait_s: Whole | None = _whole(1, 3600, "of seconds")
    notify_attempts: Whole | None = _whole(0, 1_000_000)
    notify_period_s: Number | None = _seconds(1, _DAY_S)
    notify_jitter: Whole | None = _whole(1, 100)
    stall_timeout_s: Number | None = _seconds(1, _YEAR_S)
    discard_after_s: Number | None = _seconds(1, _YEAR_S)
    version_policy: VersionPolicy | None = Field(
        default=None, description='"newer", "different" or "older"'
    )
    serve_pages: Flag | None = _flag()
    current_time_s: Whole | None = _whole(0, _MAX_U32, "of seconds")
    # 4294967295: wait for another word, which comes `release_after_s` after the transfer.
    upgrade_time_s: Whole | None = _whole(0, _MAX_U32, "of seconds")
    ids_mismatch_ends_offer: Flag | None = _flag()
    max_devices: Whole | None = _whole(1, 15)


_Parameters = TypeVar("_Parameters", OtaClientParameters, OtaServerParameters)


def _changed(parameters: _Parameters, table: Table, names: Iterator[str]) -> _Parameters:
    values = {name: getattr(table, name) for name in names}
    return replace(parameters, **{k: v for k, v in values.items() if v is not None})


def client_parameters(
    personality: Personality | None, max_data_size: int | None, table: ClientTable
) -> OtaClientParameters:
    """How a device behaves. Without a personality it is an Ember client that knows how much the
    hub has room for."""
    parameters = OtaClientParameters(max_data_size=MAX_BLOCK_OCTETS)
    if personality is not None:
        parameters = PERSONALITIES[personality]
    if max_data_size is not None:
        parameters = replace(parameters, max_data_size=max_data_size)
    return _changed(parameters, table, iter(ClientTable.model_fields))


def server_parameters(table: HubTable) -> OtaServerParameters:
    """How a hub behaves."""
    return _changed(OtaServerParameters(), table, iter(HubTable.model_fields))


class Crossing(NamedTuple):
    """Two keys of one device of which the first may not be above the second."""

    least: str
    most: str


_ORDERED = (
    Crossing("pace_minimum_s", "pace_maximum_s"),
    Crossing("wait_minimum_s", "wait_maximum_s"),
    Crossing("countdown_minimum_s", "countdown_maximum_s"),
)


def client_contradictions(
    parameters: OtaClientParameters, table: ClientTable
) -> Iterator[tuple[str, str]]:
    """Key and sentence of what no single value of the table shows."""
    for least, most in _ORDERED:
        low, high = getattr(parameters, least), getattr(parameters, most)
        if low > high:
            key = least if least in table.model_fields_set else most
            yield key, f"{least} is {low:g}, which is more than {most}, {high:g}"
    if parameters.requires_signature and not parameters.strict_elements:
        yield (
            "requires_signature",
            "requires_signature needs strict_elements = true: only there is a signature looked for",
        )
