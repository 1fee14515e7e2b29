"""Routes and neighbours as a host sees them, and how it makes its stick a concentrator.

Source: Silicon Labs UG100, chapters 6 (networking: neighbours, routes, source routes) and 8
(`setConcentrator`, `setSourceRoute`). The table of source routes came with EZSP 6, the discovery
mode with EZSP 8, where it took the frame id that `setSourceRoute` had before.
"""

from __future__ import annotations

from collections.abc import Callable

from emulator.ncp.commands.session import Fields, Handler, Session
from emulator.zigbee.concentrator import ConcentratorParameters
from emulator.zigbee.events import Status
from emulator.zigbee.nwk_commands import MAX_RELAYS, ManyToOne
from emulator.zigbee.routing import are_a_way
from emulator.zigbee.stack import Stack
from emulator.zigbee.state import UNKNOWN_EUI64

CONFIG_NEIGHBOUR_TABLE_SIZE = 0x02
CONFIG_ROUTE_TABLE_SIZE = 0x07
CONFIG_DISCOVERY_TABLE_SIZE = 0x08
CONFIG_DISABLE_RELAY = 0x18
CONFIG_SOURCE_ROUTE_TABLE_SIZE = 0x1A

_LOW_RAM, _HIGH_RAM = 0xFFF8, 0xFFF9  # EmberConcentratorType
_MODE_OFF, _MODE_ON, _MODE_RESCHEDULE = 0, 1, 2

_ROUTE_UNUSED = 3  # EmberRouteTableEntry's status; 0 is active
_NOBODY = 0xFFFF
_NO_INDEX = 0xFF
_RECORD_SENT, _RECORD_NEEDED = 1, 2
_LQI = 255


def _neighbour_table(stack: Stack, value: int) -> None:
    stack.neighbours.table_size = value


def _route_table(stack: Stack, value: int) -> None:
    stack.routing.routes.size = value


def _discovery_table(stack: Stack, value: int) -> None:
    stack.routing.requests.size = value


def _source_route_table(stack: Stack, value: int) -> None:
    stack.routing.source_routes.size = value


def _disable_relay(stack: Stack, value: int) -> None:
    stack.relaying.is_enabled = not value


_SETTINGS: dict[int, Callable[[Stack, int], None]] = {
    CONFIG_NEIGHBOUR_TABLE_SIZE: _neighbour_table,
    CONFIG_ROUTE_TABLE_SIZE: _route_table,
    CONFIG_DISCOVERY_TABLE_SIZE: _discovery_table,
    CONFIG_SOURCE_ROUTE_TABLE_SIZE: _source_route_table,
    CONFIG_DISABLE_RELAY: _disable_relay,
}


def configure(stack: Stack, number: int, value: int) -> None:
    """Let a configuration value that is about routing take effect."""
    setting = _SETTINGS.get(number)
    if setting is not None:
        setting(stack, value)


# -- concentrator --------------------------------------------------------------------------------


def set_concentrator(session: Session, request: Fields) -> Fields:
    concentrator = session.stack.routing.concentrator
    if not request["on"]:
        concentrator.set_up(None)
        return {"status": Status.OK}
    kind = request["concentratorType"]
    if kind not in (_LOW_RAM, _HIGH_RAM) or request["minTime"] > request["maxTime"]:
        return {"status": Status.INVALID_PARAMETER}
    parameters = ConcentratorParameters(
        kind == _HIGH_RAM,
        request["minTime"],
        request["maxTime"],
        request["routeErrorThreshold"],
        request["deliveryFailureThreshold"],
        request["maxHops"],
    )
    concentrator.set_up(parameters)
    return {"status": Status.OK}


def set_source_route_discovery_mode(session: Session, request: Fields) -> Fields:
    concentrator = session.stack.routing.concentrator
    mode = request["mode"]
    if mode in (_MODE_OFF, _MODE_ON):
        concentrator.set_periodic(mode == _MODE_ON)
    elif mode == _MODE_RESCHEDULE:
        concentrator.reschedule()
    return {"remainingTime": concentrator.remaining_ms()}


def send_many_to_one_route_request(session: Session, request: Fields) -> Fields:
    kind = request["concentratorType"]
    if not session.stack.is_up:
        return {"status": Status.NOT_JOINED}
    if kind not in (_LOW_RAM, _HIGH_RAM):
        return {"status": Status.INVALID_PARAMETER}
    session.stack.routing.concentrator.ask(kind == _HIGH_RAM, request["radius"])
    return {"status": Status.OK}


# -- source routes -------------------------------------------------------------------------------


def set_source_route(session: Session, request: Fields) -> Fields:
    stack = session.stack
    destination, relays = request["destination"], tuple(request["relayList"])
    if not stack.is_up:
        return {"status": Status.NOT_JOINED}
    if len(relays) > MAX_RELAYS or not are_a_way((destination, *relays, stack.short_address)):
        return {"status": Status.INVALID_PARAMETER}
    if not stack.routing.source_routes.put(destination, relays):
        return {"status": Status.TABLE_FULL}
    stack.routing.way_found(destination)
    return {"status": Status.OK}


def get_source_route_table_entry(session: Session, request: Fields) -> Fields:
    entries = session.stack.routing.source_routes.entries()
    index = request["index"]
    if index >= len(entries):
        return {"status": Status.NOT_FOUND, "destination": _NOBODY, "closerIndex": _NO_INDEX}
    destination, closer = entries[index]
    closer_index = _NO_INDEX if closer is None else closer
    return {"status": Status.OK, "destination": destination, "closerIndex": closer_index}


def get_source_route_table_filled_size(session: Session, _request: Fields) -> Fields:
    return {"sourceRouteTableFilledSize": len(session.stack.routing.source_routes)}


def get_source_route_table_total_size(session: Session, _request: Fields) -> Fields:
    return {"sourceRouteTableTotalSize": min(session.stack.routing.source_routes.size, 0xFF)}


# -- routes and neighbours -----------------------------------------------------------------------


def get_route_table_entry(session: Session, request: Fields) -> Fields:
    routes = session.stack.routing.routes
    index = request["index"]
    if index >= routes.size:
        return {"status": Status.INVALID_INDEX, "value": _UNUSED_ROUTE}
    known = list(routes)
    if index >= len(known):
        return {"status": Status.OK, "value": _UNUSED_ROUTE}
    route = known[index]
    is_high_ram = route.many_to_one is ManyToOne.WITH_ROUTE_RECORDS
    record = 0
    if route.many_to_one is not ManyToOne.NO:
        record = _RECORD_NEEDED if route.record_needed else _RECORD_SENT
    value = {
        "destination": route.destination,
        "nextHop": route.next_hop,
        "status": 0,
        "age": 0,
        "concentratorType": 2 if is_high_ram else int(route.many_to_one is not ManyToOne.NO),
        "routeRecordState": record,
    }
    return {"status": Status.OK, "value": value}


_UNUSED_ROUTE = {"destination": _NOBODY, "nextHop": _NOBODY, "status": _ROUTE_UNUSED}


def get_neighbor(session: Session, request: Fields) -> Fields:
    stack = session.stack
    routers = stack.neighbours.routers()
    index = request["index"]
    if index >= len(routers):
        return {"status": Status.INVALID_INDEX}
    address, neighbour = routers[index]
    eui64 = stack.eui64_of(address)
    value = {
        "shortId": address,
        "averageLqi": _LQI,
        "inCost": 1,
        "outCost": neighbour.outgoing_cost,
        "age": neighbour.age,
        "longId": UNKNOWN_EUI64 if eui64 is None else int.from_bytes(eui64, "little"),
    }
    return {"status": Status.OK, "value": value}


def neighbor_count(session: Session, _request: Fields) -> Fields:
    return {"value": len(session.stack.neighbours.routers())}


def get_neighbor_frame_counter(session: Session, request: Fields) -> Fields:
    counter = session.stack.incoming_counter(request["eui64"])
    if counter is None:
        return {"status": Status.NOT_FOUND}
    return {"status": Status.OK, "frameCounter": counter}


COMMANDS: dict[str, Handler] = {
    "setConcentrator": set_concentrator,
    "setSourceRouteDiscoveryMode": set_source_route_discovery_mode,
    "sendManyToOneRouteRequest": send_many_to_one_route_request,
    "setSourceRoute": set_source_route,
    "getSourceRouteTableEntry": get_source_route_table_entry,
    "getSourceRouteTableFilledSize": get_source_route_table_filled_size,
    "getSourceRouteTableTotalSize": get_source_route_table_total_size,
    "getRouteTableEntry": get_route_table_entry,
    "getNeighbor": get_neighbor,
    "neighborCount": neighbor_count,
    "getNeighborFrameCounter": get_neighbor_frame_counter,
}
