"""Commands between child and parent, and of a join through a router: octets by hand, round trips,
hostile octets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee import joining_commands as joins
from emulator.zigbee import rejoin_commands as rejoins
from emulator.zigbee.aps import ApsError
from emulator.zigbee.events import DeviceUpdate
from emulator.zigbee.joining_commands import Tunnel, UpdateDevice
from emulator.zigbee.nwk import NwkError
from emulator.zigbee.rejoin_commands import (
    RejoinResponse,
    RejoinStatus,
    TimeoutResponse,
    TimeoutStatus,
)

EUI64 = 0x00DB1234567890A2
octet = st.integers(0, 255)
short = st.integers(0, 0xFFFF)
eui64s = st.integers(0, 2**64 - 1)


# By hand from ZigBee 05-3474: 3.4.4, 3.4.6, 3.4.7, 3.4.11, 3.4.12, 4.4.10.
@pytest.mark.parametrize(
    ("built", "octets"),
    [
        (rejoins.leave(rejoins.LEAVE_REQUEST | rejoins.LEAVE_REJOIN), "04 60"),
        (rejoins.rejoin_request(0x80), "06 80"),
        (rejoins.rejoin_response(RejoinResponse(0x1234, RejoinStatus.OK)), "07 34 12 00"),
        (
            rejoins.rejoin_response(RejoinResponse(0xFFFF, RejoinStatus.PAN_AT_CAPACITY)),
            "07 FF FF 01",
        ),
        (rejoins.timeout_request(8), "0B 08 00"),
        (rejoins.timeout_response(TimeoutResponse(TimeoutStatus.OK, 3)), "0C 00 03"),
        (
            joins.build_update_device(
                UpdateDevice(EUI64, 0x1234, DeviceUpdate.STANDARD_SECURITY_UNSECURED_JOIN)
            ),
            "06 A2 90 78 56 34 12 DB 00 34 12 01",
        ),
        (joins.build_tunnel(Tunnel(EUI64, b"\x21\x07")), "0E A2 90 78 56 34 12 DB 00 21 07"),
    ],
)
def test_a_command_is_laid_out_as_the_standard_says(built: bytes, octets: str) -> None:
    assert built.hex(" ").upper() == octets


def test_timeouts_are_those_of_the_standard() -> None:
    # 05-3474 r21, table 3.44: 10 s, 2 minutes, 4, 8 … 16384 minutes
    assert rejoins.TIMEOUTS_S[0] == 10
    assert [s // 60 for s in rejoins.TIMEOUTS_S[1:]] == [2**power for power in range(1, 15)]


@given(octet)
def test_one_octet_comes_back(value: int) -> None:
    assert rejoins.parse_leave(rejoins.leave(value)) == value
    assert rejoins.parse_rejoin_request(rejoins.rejoin_request(value)) == value
    assert rejoins.parse_timeout_request(rejoins.timeout_request(value)) == value


@given(short, st.sampled_from(RejoinStatus))
def test_a_rejoin_response_comes_back(address: int, status: RejoinStatus) -> None:
    response = RejoinResponse(address, status)
    assert rejoins.parse_rejoin_response(rejoins.rejoin_response(response)) == response


@given(octet, st.sampled_from(TimeoutStatus))
def test_a_timeout_response_comes_back(information: int, status: TimeoutStatus) -> None:
    response = TimeoutResponse(status, information)
    assert rejoins.parse_timeout_response(rejoins.timeout_response(response)) == response


@given(eui64s, short, st.sampled_from(DeviceUpdate))
def test_an_update_device_comes_back(eui64: int, address: int, update: DeviceUpdate) -> None:
    command = UpdateDevice(eui64, address, update)
    assert joins.parse_update_device(joins.build_update_device(command)) == command


@given(eui64s, st.binary(min_size=1, max_size=90))
def test_a_tunnel_comes_back(eui64: int, frame: bytes) -> None:
    assert joins.parse_tunnel(joins.build_tunnel(Tunnel(eui64, frame))) == Tunnel(eui64, frame)


@pytest.mark.parametrize(
    ("parse", "error"),
    [
        (rejoins.parse_leave, NwkError),
        (rejoins.parse_rejoin_request, NwkError),
        (rejoins.parse_rejoin_response, NwkError),
        (rejoins.parse_timeout_request, NwkError),
        (rejoins.parse_timeout_response, NwkError),
        (joins.parse_update_device, ApsError),
        (joins.parse_tunnel, ApsError),
    ],
)
def test_hostile_octets_raise_only_our_error(
    parse: Callable[[bytes], object], error: type[Exception]
) -> None:
    @given(st.binary(min_size=1, max_size=20))
    def hostile(octets: bytes) -> None:
        with contextlib.suppress(error):
            parse(octets)

    hostile()
    with pytest.raises(error, match="octet"):
        parse(b"\x07")
