"""NWK commands of routing: golden octets, round trips, hostile octets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee import nwk_commands
from emulator.zigbee.nwk import NwkError
from emulator.zigbee.nwk_commands import (
    Link,
    LinkStatus,
    ManyToOne,
    NetworkStatus,
    NetworkStatusCode,
    RouteRecord,
    RouteReply,
    RouteRequest,
)

# By hand from ZigBee 05-3474, 3.4.1 to 3.4.8: identifier, options, then the fields, little-endian.
GOLDEN: list[tuple[Any, str]] = [
    (RouteRequest(0x11, 0x3456, 2), "01 00 11 56 34 02"),
    (
        RouteRequest(0x12, 0xFFFC, 0, ManyToOne.WITH_ROUTE_RECORDS),
        "01 08 12 FC FF 00",
    ),
    (
        RouteRequest(0x13, 0xFFFC, 1, ManyToOne.WITHOUT_ROUTE_RECORDS),
        "01 10 13 FC FF 01",
    ),
    (
        RouteRequest(0x14, 0x0001, 255, destination_ieee=0x0011223344556677),
        "01 20 14 01 00 FF 77 66 55 44 33 22 11 00",
    ),
    (RouteReply(0x11, 0x0000, 0x3456, 3), "02 00 11 00 00 56 34 03"),
    (
        RouteReply(0x11, 0x0000, 0x3456, 3, 0x00DB1234567890A2, 0x0011223344556677),
        "02 30 11 00 00 56 34 03 A2 90 78 56 34 12 DB 00 77 66 55 44 33 22 11 00",
    ),
    (
        RouteReply(0x11, 0x0000, 0x3456, 3, responder_ieee=0x0011223344556677),
        "02 20 11 00 00 56 34 03 77 66 55 44 33 22 11 00",
    ),
    (NetworkStatus(NetworkStatusCode.SOURCE_ROUTE_FAILURE, 0x3456), "03 0B 56 34"),
    (RouteRecord(()), "05 00"),
    (RouteRecord((0x1001, 0x2002)), "05 02 01 10 02 20"),
    (LinkStatus(()), "08 60"),
    (LinkStatus((Link(0x0000, 1, 0), Link(0x2002, 3, 7))), "08 62 00 00 01 02 20 73"),
    (LinkStatus((Link(0x0000, 1, 0),), last=False), "08 21 00 00 01"),
    (LinkStatus((Link(0x0000, 1, 0),), first=False), "08 41 00 00 01"),
]
CODECS: dict[type, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    RouteRequest: (nwk_commands.build_route_request, nwk_commands.parse_route_request),
    RouteReply: (nwk_commands.build_route_reply, nwk_commands.parse_route_reply),
    NetworkStatus: (nwk_commands.build_network_status, nwk_commands.parse_network_status),
    RouteRecord: (nwk_commands.build_route_record, nwk_commands.parse_route_record),
    LinkStatus: (nwk_commands.build_link_status, nwk_commands.parse_link_status),
}


@pytest.mark.parametrize(("command", "octets"), GOLDEN, ids=lambda value: str(value)[:40])
def test_each_command_is_laid_out_as_the_standard_says(command: Any, octets: str) -> None:
    build, parse = CODECS[type(command)]
    assert build(command).hex(" ").upper() == octets
    assert parse(bytes.fromhex(octets)) == command


addresses = st.integers(0, 0xFFFF)
octet = st.integers(0, 0xFF)
euis = st.none() | st.integers(0, 2**64 - 1)
costs = st.integers(0, 7)
every_command = st.one_of(
    st.builds(RouteRequest, octet, addresses, octet, st.sampled_from(ManyToOne), euis),
    st.builds(RouteReply, octet, addresses, addresses, octet, euis, euis),
    st.builds(NetworkStatus, octet, addresses),
    st.builds(RouteRecord, st.lists(addresses, max_size=15).map(tuple)),
    st.builds(
        LinkStatus,
        st.lists(st.builds(Link, addresses, costs, costs), max_size=31).map(tuple),
        st.booleans(),
        st.booleans(),
    ),
)


@given(command=every_command, behind=st.binary(max_size=8))
def test_what_was_built_is_read_back_whatever_a_later_revision_appends(
    command: Any, behind: bytes
) -> None:
    build, parse = CODECS[type(command)]
    assert parse(build(command) + behind) == command


@given(command=every_command, data=st.data())
def test_a_command_cut_short_is_named_with_its_length(command: Any, data: st.DataObject) -> None:
    build, parse = CODECS[type(command)]
    whole = build(command)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(NwkError, match=f"this one {len(cut)}"):
        parse(cut)


@given(octets=st.binary(max_size=90))
def test_hostile_octets_raise_nwk_error_or_read(octets: bytes) -> None:
    for identifier, (build, parse) in zip((1, 2, 3, 5, 8), CODECS.values(), strict=True):
        command = bytes((identifier,)) + octets
        try:
            read = parse(command)
        except NwkError:
            continue
        assert parse(build(read)) == read


def test_reserved_kinds_and_ways_longer_than_a_network_are_refused() -> None:
    with pytest.raises(NwkError, match="many-to-one 3"):
        nwk_commands.parse_route_request(bytes.fromhex("01 18 11 56 34 02"))
    with pytest.raises(NwkError, match="16 relays"):
        nwk_commands.parse_route_record(bytes((5, 16)) + bytes(32))


def test_more_links_than_a_frame_holds_are_told_in_parts() -> None:
    links = [Link(address, 1, 1) for address in range(60)]
    parts = nwk_commands.split_links(links, 26)
    assert [len(part.links) for part in parts] == [26, 26, 8]
    assert [(part.first, part.last) for part in parts] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    assert nwk_commands.split_links([], 26) == [LinkStatus(())]
