"""NWK commands that keep routes: requests, replies, records, failures, and who hears whom.

Source: ZigBee specification 05-3474, 3.4.1, 3.4.2, 3.4.3, 3.4.5 and 3.4.8. A command is its
identifier and its payload as they stand behind the NWK header; addresses are integers. Octets
behind the last field are passed over: later revisions of the specification append to commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from emulator.zigbee.nwk import NwkError

ROUTE_REQUEST = 0x01
ROUTE_REPLY = 0x02
NETWORK_STATUS = 0x03
ROUTE_RECORD = 0x05
LINK_STATUS = 0x08

MAX_RELAYS = 15  # nwkMaxDepth of the stack profile: no way through the network is longer
MAX_LINKS = 31  # the count has five bits; senders stay below, for the frame's sake

_REQUEST = Struct("<BBBHB")  # identifier, options, request id, destination, path cost
_REPLY = Struct("<BBBHHB")  # identifier, options, request id, originator, responder, path cost
_STATUS = Struct("<BBH")  # identifier, status, address
_EUI64 = Struct("<Q")
_LINK = Struct("<HB")
_MANY_TO_ONE_SHIFT = 3
_REQUEST_DESTINATION_IEEE = 1 << 5
_REPLY_ORIGINATOR_IEEE = 1 << 4
_REPLY_RESPONDER_IEEE = 1 << 5
_LINK_COUNT = 0x1F
_LINK_FIRST = 1 << 5
_LINK_LAST = 1 << 6
_COST = 0x07


class ManyToOne(IntEnum):
    """Whether a Route Request asks for routes to its sender, and whether that keeps records."""

    NO = 0
    WITH_ROUTE_RECORDS = 1  # a high RAM concentrator: one Route Record is enough
    WITHOUT_ROUTE_RECORDS = 2  # a low RAM concentrator: one before every message


class NetworkStatusCode(IntEnum):
    """Why a Network Status was sent (3.4.3.3.1)."""

    NO_ROUTE_AVAILABLE = 0x00
    NON_TREE_LINK_FAILURE = 0x02
    SOURCE_ROUTE_FAILURE = 0x0B
    MANY_TO_ONE_ROUTE_FAILURE = 0x0C
    ADDRESS_CONFLICT = 0x0D


class RouteRequest(NamedTuple):
    request_id: int
    destination: int
    path_cost: int
    many_to_one: ManyToOne = ManyToOne.NO
    destination_ieee: int | None = None


class RouteReply(NamedTuple):
    request_id: int
    originator: int
    responder: int
    path_cost: int
    originator_ieee: int | None = None
    responder_ieee: int | None = None


class NetworkStatus(NamedTuple):
    status: int
    """A NetworkStatusCode, or what a later revision defines."""
    address: int


class RouteRecord(NamedTuple):
    """The relays a frame passed, the one nearest to its sender first."""

    relays: tuple[int, ...]


class Link(NamedTuple):
    """One neighbour in a Link Status: its address and the cost each way, 0 for unknown."""

    address: int
    incoming_cost: int
    outgoing_cost: int


class LinkStatus(NamedTuple):
    links: tuple[Link, ...]
    first: bool = True
    last: bool = True


def build_route_request(request: RouteRequest) -> bytes:
    options = request.many_to_one << _MANY_TO_ONE_SHIFT
    tail = b""
    if request.destination_ieee is not None:
        options |= _REQUEST_DESTINATION_IEEE
        tail = _EUI64.pack(request.destination_ieee)
    fixed = _REQUEST.pack(
        ROUTE_REQUEST, options, request.request_id, request.destination, request.path_cost
    )
    return fixed + tail


def parse_route_request(command: bytes) -> RouteRequest:
    """Raises NwkError."""
    _require(command, _REQUEST.size, "a Route Request")
    _, options, request_id, destination, path_cost = _REQUEST.unpack_from(command)
    many_to_one = options >> _MANY_TO_ONE_SHIFT & 0x03
    if many_to_one == 3:
        raise NwkError("many-to-one 3 is reserved", 1)
    ieee = None
    if options & _REQUEST_DESTINATION_IEEE:
        ieee = _eui64(command, _REQUEST.size)
    return RouteRequest(request_id, destination, path_cost, ManyToOne(many_to_one), ieee)


def build_route_reply(reply: RouteReply) -> bytes:
    options = 0
    tail = b""
    if reply.originator_ieee is not None:
        options |= _REPLY_ORIGINATOR_IEEE
        tail += _EUI64.pack(reply.originator_ieee)
    if reply.responder_ieee is not None:
        options |= _REPLY_RESPONDER_IEEE
        tail += _EUI64.pack(reply.responder_ieee)
    fixed = _REPLY.pack(
        ROUTE_REPLY, options, reply.request_id, reply.originator, reply.responder, reply.path_cost
    )
    return fixed + tail


def parse_route_reply(command: bytes) -> RouteReply:
    """Raises NwkError."""
    _require(command, _REPLY.size, "a Route Reply")
    _, options, request_id, originator, responder, path_cost = _REPLY.unpack_from(command)
    at = _REPLY.size
    originator_ieee = responder_ieee = None
    if options & _REPLY_ORIGINATOR_IEEE:
        originator_ieee = _eui64(command, at)
        at += _EUI64.size
    if options & _REPLY_RESPONDER_IEEE:
        responder_ieee = _eui64(command, at)
    return RouteReply(request_id, originator, responder, path_cost, originator_ieee, responder_ieee)


def build_network_status(status: NetworkStatus) -> bytes:
    return _STATUS.pack(NETWORK_STATUS, status.status, status.address)


def parse_network_status(command: bytes) -> NetworkStatus:
    """Raises NwkError."""
    _require(command, _STATUS.size, "a Network Status")
    _, status, address = _STATUS.unpack_from(command)
    return NetworkStatus(status, address)


def build_route_record(record: RouteRecord) -> bytes:
    relays = b"".join(relay.to_bytes(2, "little") for relay in record.relays)
    return bytes((ROUTE_RECORD, len(record.relays))) + relays


def parse_route_record(command: bytes) -> RouteRecord:
    """Raises NwkError."""
    _require(command, 2, "a Route Record")
    count = command[1]
    if count > MAX_RELAYS:
        raise NwkError(f"{count} relays, no way through a network has more than {MAX_RELAYS}", 1)
    end = 2 + 2 * count
    _require(command, end, f"a Route Record of {count} relays")
    relays = (int.from_bytes(command[at : at + 2], "little") for at in range(2, end, 2))
    return RouteRecord(tuple(relays))


def build_link_status(status: LinkStatus) -> bytes:
    options = len(status.links)
    options |= _LINK_FIRST if status.first else 0
    options |= _LINK_LAST if status.last else 0
    links = (
        _LINK.pack(link.address, link.incoming_cost | link.outgoing_cost << 4)
        for link in status.links
    )
    return bytes((LINK_STATUS, options)) + b"".join(links)


def parse_link_status(command: bytes) -> LinkStatus:
    """Raises NwkError."""
    _require(command, 2, "a Link Status")
    options = command[1]
    count = options & _LINK_COUNT
    end = 2 + count * _LINK.size
    _require(command, end, f"a Link Status of {count} links")
    links = []
    for at in range(2, end, _LINK.size):
        address, costs = _LINK.unpack_from(command, at)
        links.append(Link(address, costs & _COST, costs >> 4 & _COST))
    return LinkStatus(tuple(links), bool(options & _LINK_FIRST), bool(options & _LINK_LAST))


def split_links(links: Sequence[Link], most: int) -> list[LinkStatus]:
    """As many Link Status commands as `links` need, `most` in each; one when there are none."""
    parts = [tuple(links[at : at + most]) for at in range(0, len(links), most)] or [()]
    last = len(parts) - 1
    return [LinkStatus(part, at == 0, at == last) for at, part in enumerate(parts)]


def _require(command: bytes, octets: int, what: str) -> None:
    length = len(command)
    if length < octets:
        raise NwkError(f"{what} has at least {octets} octets, this one {length}", length)


def _eui64(command: bytes, at: int) -> int:
    _require(command, at + _EUI64.size, "a command with an EUI-64")
    (eui64,) = _EUI64.unpack_from(command, at)
    return int(eui64)
