"""Sticks in the middle of life: the state documents of networks nobody had to form or join.

Source: what bellows and zigpy leave in a stick that they formed a network with, and a join in a
stick that joined one (tests/hil/test_profiles.py compares both, field by field).
"""

from __future__ import annotations

from dataclasses import replace

from emulator.zigbee.children import DEFAULT_TIMEOUT
from emulator.zigbee.events import NodeType
from emulator.zigbee.rejoin_commands import TIMEOUTS_S
from emulator.zigbee.state import Child, LinkKey, Network, StackState

# EmberInitialSecurityBitmask: what zigpy forms with, and what a node joins with
_FORMED_SECURITY = 0x0004 | 0x0040 | 0x0080 | 0x0100 | 0x0200 | 0x0800 | 0x1000
_JOINED_SECURITY = 0x0100 | 0x0800 | 0x1000


class ProfileError(ValueError):
    """A stick was asked to have joined what is no coordinator's network."""


def blank(eui64: int) -> StackState:
    """A stick fresh from its box."""
    return StackState(eui64)


def formed_coordinator(
    eui64: int,
    *,
    pan_id: int,
    extended_pan_id: int,
    channel: int,
    network_key: bytes,
    trust_center_key: bytes,
) -> StackState:
    """The coordinator and trust centre of a network of its own, with nobody in it yet."""
    network = Network(
        pan_id,
        extended_pan_id,
        channel,
        NodeType.COORDINATOR,
        0x0000,
        network_key,
        trust_center_eui64=eui64,
    )
    return StackState(eui64, network, trust_center_key, _FORMED_SECURITY)


def joined(
    eui64: int,
    coordinator: StackState,
    link_key: bytes,
    *,
    node_type: NodeType = NodeType.ROUTER,
    short_address: int | None = None,
) -> StackState:
    """A router or end device in the network of `coordinator`, which learns of it: its address and
    its link key are in `coordinator` afterwards. Without a `short_address` it gets the first free.

    Raises ProfileError.
    """
    network = coordinator.network
    if network is None or network.node_type is not NodeType.COORDINATOR:
        raise ProfileError(f"{coordinator.eui64:016X} is no coordinator: nobody joins there")
    if node_type is NodeType.COORDINATOR:
        raise ProfileError("a network has one coordinator, and it does not join")
    if eui64 == coordinator.eui64 or eui64 in coordinator.devices.values():
        raise ProfileError(f"{eui64:016X} is in the network already")
    if short_address is None:
        short_address = next(one for one in range(1, 0xFFF8) if one not in coordinator.devices)
    elif not 1 <= short_address <= 0xFFF7 or short_address in coordinator.devices:
        raise ProfileError(f"{short_address:#06x} is no address that is free")
    coordinator.devices[short_address] = eui64
    entry = LinkKey(eui64, link_key)
    if None in coordinator.link_keys:
        coordinator.link_keys[coordinator.link_keys.index(None)] = entry
    else:
        coordinator.link_keys.append(entry)
    if node_type.is_end_device:
        coordinator.children.append(
            Child(eui64, short_address, node_type, TIMEOUTS_S[DEFAULT_TIMEOUT])
        )
    own = replace(
        network, node_type=node_type, short_address=short_address, parent=0x0000, manager=0x0000
    )
    state = StackState(eui64, own, link_key, _JOINED_SECURITY)
    state.trust_center_counter = 1  # the network key came under the first frame counter
    return state
