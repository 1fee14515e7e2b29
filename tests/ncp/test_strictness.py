"""Strict and lenient sticks, the same commands asked of both: what firmware refuses, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import bellows.types as t
import pytest
from air_support import CHANNEL, Air, StackHost, network
from bellows.ezsp import EZSP

from emulator.ncp.commands.strictness import MAX_ENDPOINTS
from emulator.ncp.ezsp import Ezsp
from emulator.ncp.ezsp_tables import Tables
from emulator.zigbee.events import Status
from emulator.zigbee.state import StackState

VERSIONS = (8, 13, 14, 18)
TABLES = {version: Tables(version) for version in VERSIONS}
EUI64 = 0x02484E4200000001
KEY = t.KeyData(bytes(range(16)))
PARTNER = t.EUI64.convert("00:11:22:33:44:55:66:77")
versions = pytest.mark.parametrize("version", VERSIONS)


class Stick:
    """A stick and a host that knows its version, without a line between them."""

    def __init__(self, version: int, *, strict: bool = True, up: bool = False) -> None:
        self.version = version
        self.air = Air()
        state = StackState(EUI64, network=network() if up else None)
        self.host = StackHost(self.air, "stick", EUI64, state)
        self.ezsp = Ezsp(TABLES[version], self.host.stack, strict=strict)
        self.host.stack.on_event = lambda _: None
        self.host.stack.endpoints.clear()
        self.protocol = EZSP._BY_VERSION[version](lambda *_: None, None)
        if up:
            assert self.host.stack.resume() is Status.OK
        assert self.ask("version", desiredProtocolVersion=version)["protocolVersion"] == version

    def receive(self, name: str, **fields: Any) -> tuple[int, bytes]:
        response = self.ezsp.receive(self.protocol._ezsp_frame(name, **fields))
        assert response is not None
        _, frame_id, body = self.protocol._ezsp_frame_rx(response)
        return frame_id, body

    def ask(self, name: str, **fields: Any) -> dict[str, Any]:
        frame_id, body = self.receive(name, **fields)
        command, _, schema = self.protocol.COMMANDS[name]
        assert frame_id == command
        got, rest = t.deserialize_dict(body, schema)
        assert rest == b""
        return dict(got)

    def status(self, name: str, **fields: Any) -> int:
        return int(self.ask(name, **fields)["status"])

    def good(self, name: str, **fields: Any) -> None:
        assert self.status(name, **fields) == 0


def configure(stick: Stick, number: int, value: int) -> int:
    return stick.status("setConfigurationValue", configId=number, value=value)


def endpoint(stick: Stick, number: int = 1) -> int:
    return stick.status(
        "addEndpoint",
        endpoint=number,
        profileId=0x0109,
        deviceId=0,
        deviceVersion=0,
        inputClusterCount=0,
        outputClusterCount=0,
        inputClusterList=[],
        outputClusterList=[],
    )


def parameters() -> t.EmberNetworkParameters:
    return t.EmberNetworkParameters(
        extendedPanId=t.ExtendedPanId(bytes(range(8))),
        panId=0x1A62,
        radioTxPower=8,
        radioChannel=CHANNEL,
        joinMethod=t.EmberJoinMethod.USE_MAC_ASSOCIATION,
        nwkManagerId=0,
        nwkUpdateId=0,
        channels=t.Channels.from_channel_list([CHANNEL]),
    )


def security(stick: Stick, bits: int = 0x0300) -> int:
    state = t.EmberInitialSecurityState(
        bitmask=t.EmberInitialSecurityBitmask(bits),
        preconfiguredKey=KEY,
        networkKey=KEY,
        networkKeySequenceNumber=0,
        preconfiguredTrustCenterEui64=t.EUI64(bytes(8)),
    )
    return stick.status("setInitialSecurityState", state=state)


def unicast(stick: Stick, source_endpoint: int = 1) -> int:
    aps = t.EmberApsFrame(0x0109, 0x0019, source_endpoint, 1, t.EmberApsOption(0), 0, 0)
    if stick.version < 14:
        fields = {"type": 0, "indexOrDestination": 0x1234, "apsFrame": aps}
        return stick.status("sendUnicast", **fields, messageTag=1, messageContents=b"x")
    fields = {"message_type": 0, "nwk": 0x1234, "aps_frame": aps}
    return stick.status("sendUnicast", **fields, message_tag=1, message=b"x")


def broadcast(stick: Stick, source_endpoint: int = 1) -> int:
    aps = t.EmberApsFrame(0x0109, 0x0019, source_endpoint, 1, t.EmberApsOption(0), 0, 0)
    if stick.version < 14:
        fields: dict[str, Any] = {"apsFrame": aps, "messageTag": 1, "messageContents": b"x"}
    else:
        fields = {"alias": 0, "sequence": 0, "aps_frame": aps, "message_tag": 1, "message": b"x"}
    return stick.status("sendBroadcast", destination=0xFFFD, radius=0, **fields)


def scan(stick: Stick, kind: int = 0, mask: int = 1 << CHANNEL, duration: int = 0) -> int:
    return stick.status("startScan", scanType=kind, channelMask=t.Channels(mask), duration=duration)


def scan_twice(stick: Stick) -> int:
    assert scan(stick) == 0
    return scan(stick)


def form_without_security(stick: Stick) -> int:
    return stick.status("formNetwork", parameters=parameters())


def join_in_a_network(stick: Stick) -> int:
    return stick.status("joinNetwork", nodeType=2, parameters=parameters())


def one_endpoint_too_many(stick: Stick) -> int:
    for number in range(1, MAX_ENDPOINTS + 1):
        assert endpoint(stick, number) == 0
    return endpoint(stick, MAX_ENDPOINTS + 1)


def endpoint_twice(stick: Stick) -> int:
    assert endpoint(stick) == 0
    return endpoint(stick)


class Case(NamedTuple):
    """A command, whether in a network, and its numbers: EzspStatus or EmberStatus, sl_Status, and
    whether a lenient stick does it.
    """

    name: str
    ask: Callable[[Stick], int]
    up: bool
    old: int
    new: int
    lenient: bool


EZSP_ERROR = 0x0C1E  # SL_STATUS_ZIGBEE_EZSP_ERROR
# Numbers by hand from UG100 (EzspStatus, EmberStatus) and sl_status.h.
CASES = [
    Case("endpoint in a network", endpoint, True, 0x38, EZSP_ERROR, True),
    Case("endpoint twice", endpoint_twice, False, 0x36, EZSP_ERROR, True),
    Case("endpoints without end", one_endpoint_too_many, False, 0x35, EZSP_ERROR, True),
    Case("size in a network", lambda s: configure(s, 0x05, 10), True, 0x38, EZSP_ERROR, True),
    Case("value in a network", lambda s: configure(s, 0x12, 7680), True, 0x38, EZSP_ERROR, True),
    Case("unknown config", lambda s: configure(s, 0xEE, 1), False, 0x37, EZSP_ERROR, True),
    Case("read-only config", lambda s: configure(s, 0x41, 1), False, 0x38, EZSP_ERROR, True),
    Case("level out of range", lambda s: configure(s, 0x0D, 4), False, 0x36, EZSP_ERROR, True),
    Case("size beyond memory", lambda s: configure(s, 0x1A, 9999), False, 0x35, EZSP_ERROR, True),
    Case(
        "unknown value",
        lambda s: s.status("setValue", valueId=0xEE, value=b"\1"),
        False,
        0x37,
        EZSP_ERROR,
        True,
    ),
    Case(
        "read-only value",
        lambda s: s.status("setValue", valueId=0x03, value=b"\1"),
        False,
        0x38,
        EZSP_ERROR,
        True,
    ),
    Case(
        "counter of three octets",
        lambda s: s.status("setValue", valueId=0x23, value=b"\1\2\3"),
        False,
        0x36,
        EZSP_ERROR,
        False,
    ),
    Case(
        "unknown policy",
        lambda s: s.status("setPolicy", policyId=0xEE, decisionId=1),
        False,
        0x37,
        EZSP_ERROR,
        True,
    ),
    Case(
        "policy read by an unknown id",
        lambda s: s.status("getPolicy", policyId=0xEE),
        False,
        0x37,
        EZSP_ERROR,
        False,
    ),
    Case(
        "multicast table",
        lambda s: s.status(
            "setMulticastTableEntry", index=99, value=t.EmberMulticastTableEntry(1, 1, 0)
        ),
        False,
        0xB1,
        0x27,
        False,
    ),
    Case(
        "address table",
        lambda s: s.status(
            "replaceAddressTableEntry",
            addressTableIndex=8,
            newEui64=PARTNER,
            newId=0x1234,
            newExtendedTimeout=False,
        ),
        False,
        0x6A,
        0x27,
        False,
    ),
    Case("security in a network", security, True, 0x70, 0x02, False),
    Case("hashed, no centre", lambda s: security(s, 0x0082), False, 0xB7, 0x23, True),
    Case("form without security", form_without_security, False, 0xA8, 0x0C0B, False),
    Case("form in a network", form_without_security, True, 0x70, 0x02, False),
    Case("join in a network", join_in_a_network, True, 0x70, 0x02, False),
    Case("scan while scanning", scan_twice, False, 0x3D, 0x4D, False),
    Case("scan of no kind", lambda s: scan(s, kind=3), False, 0x34, 0x4E, True),
    Case("scan without end", lambda s: scan(s, duration=15), False, 0x33, 0x50, False),
    Case("scan of no channel", lambda s: scan(s, mask=1), False, 0x35, 0x4F, False),
    Case("unicast without a network", unicast, False, 0x91, 0x16, False),
    Case("broadcast without a network", broadcast, False, 0x91, 0x16, False),
    Case("unicast from no endpoint", unicast, True, 0xA3, 0x21, True),
    Case("broadcast from no endpoint", broadcast, True, 0xA3, 0x21, True),
]
cases = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


@versions
@cases
def test_a_strict_stick_refuses_as_firmware_does(version: int, case: Case) -> None:
    stick = Stick(version, up=case.up)
    assert case.ask(stick) == (case.new if version >= 14 else case.old)


@versions
@cases
def test_a_lenient_stick_lets_pass_what_harms_nobody(version: int, case: Case) -> None:
    stick = Stick(version, strict=False, up=case.up)
    assert (case.ask(stick) == 0) == case.lenient


@versions
def test_what_is_in_order_is_done_by_a_strict_stick_too(version: int) -> None:
    stick = Stick(version)
    assert configure(stick, 0x1E, 16) == 0
    assert configure(stick, 0x1A, 200) == 0  # as bellows asks for
    stick.good("setValue", valueId=0x23, value=b"\1\2\3\4")
    assert endpoint(stick) == 0
    assert scan(stick) == 0
    stick.air.clock.run_for(1)
    assert security(stick) == 0
    stick.good("formNetwork", parameters=parameters())
    stick.air.clock.run_for(0.1)
    assert unicast(stick) == 0
    assert unicast(stick, 0) == 0  # the device itself
    assert broadcast(stick) == 0
    assert configure(stick, 0x1E, 20) != 0


@versions
def test_nothing_is_done_before_the_version_is_agreed(version: int) -> None:
    stick = Stick(version)
    stick.ezsp.session.version_set = False
    error = 0x30 if version < 14 else EZSP_ERROR
    for desired in (None, 4):
        if desired is not None:
            stick.ask("version", desiredProtocolVersion=desired)
        frame_id, body = stick.receive("nop")
        assert frame_id == stick.protocol.COMMANDS["invalidCommand"][0]
        assert int.from_bytes(body, "little") == error
        assert unicast(stick) != 0
    stick.ask("version", desiredProtocolVersion=version)
    stick.ask("nop")


@pytest.mark.parametrize(("version", "status"), [(8, 0), (11, 0), (12, 0x37), (13, 0x37)])
def test_the_number_of_packet_buffers_is_fixed_from_emberznet_7_3_on(
    version: int, status: int
) -> None:
    TABLES.setdefault(version, Tables(version))
    assert configure(Stick(version), 0x01, 0xFF) == status
