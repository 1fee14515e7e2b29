"""Who is who on the air: names of nodes, learnt from what the frames show of their addresses.

Source: ours. An EUI-64 may have a name of the bench; a short address goes with the EUI-64 that a
secured frame, an association or an announcement shows beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

from emulator.zigbee import mac, nwk

COORDINATOR = "hub"
"""What the node 0x0000 is called when nobody names its EUI-64."""

BROADCASTS = {0xFFFF: "all", 0xFFFD: "all awake", 0xFFFC: "all routers"}
_MAX_REMEMBERED = 4096


class AirNames:
    """The nodes heard so far. `names` are those of the bench, by EUI-64."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._eui64s: dict[int, int] = {}
        self._node_names: dict[int, str] = {}
        self._coordinators: dict[int, str] = {}
        self._associating: dict[int, int] = {}

    def learn_association(self, frame: mac.MacFrame) -> None:
        """The request names its parent's short address, the response that parent's EUI-64."""
        payload, pan = frame.payload, frame.destination_pan or 0
        source, destination = frame.source, frame.destination
        if not payload or source is None or destination is None or not frame.source_extended:
            return
        if payload[0] == mac.COMMAND_ASSOCIATION_REQUEST and not frame.destination_extended:
            if len(self._associating) >= _MAX_REMEMBERED:
                self._associating.clear()
            self._associating[source] = destination
        elif payload[0] == mac.COMMAND_ASSOCIATION_RESPONSE and frame.destination_extended:
            parent = self._associating.pop(destination, None)
            if parent is not None:
                self.learn(pan, parent, source)
            if len(payload) == 4 and payload[3] == mac.ASSOCIATION_SUCCESSFUL:
                self.learn(pan, int.from_bytes(payload[1:3], "little"), destination)

    def eui64(self, pan: int, short: int) -> int | None:
        return self._eui64s.get(pan << 16 | short)

    def of_eui64(self, eui64: int) -> str:
        return self._names.get(eui64) or self._coordinators.get(eui64, f"{eui64:016X}")

    def of_mac(self, pan: int | None, address: int | None, extended: bool) -> str:
        """The name of a MAC address; none at all where it is left out."""
        if address is None:
            return ""
        if extended:
            return self.of_eui64(address)
        return self.of(pan or 0, address)

    def of(self, pan: int, short: int) -> str:
        """The name of a short address, its digits as long as nobody is known to have it."""
        name = self._node_names.get(pan << 16 | short) or BROADCASTS.get(short)
        if name is None:
            return COORDINATOR if short == 0 else f"0x{short:04X}"
        return name

    def learn(self, pan: int, short: int, eui64: int) -> None:
        """The node with this short address has this EUI-64, from now on."""
        node = pan << 16 | short
        if short >= nwk.LOWEST_BROADCAST or self._eui64s.get(node) == eui64:
            return
        if len(self._eui64s) >= _MAX_REMEMBERED:
            self._eui64s.clear()
            self._node_names.clear()
            self._coordinators.clear()
        self._eui64s[node] = eui64
        name = self._names.get(eui64)
        if name is not None:
            self._node_names[node] = name
            return
        self._node_names.pop(node, None)
        if short == 0:
            self._coordinators[eui64] = COORDINATOR
