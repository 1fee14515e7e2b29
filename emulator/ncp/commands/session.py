"""What commands work on: the stack, and what the host has set since the stick started.

Source: Silicon Labs UG100, 4.1: configuration, endpoints, policies and security settings are
volatile; a host sets them again after every reset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from emulator.ncp.cbke_engine import CbkeEngine
from emulator.zigbee.stack import Stack

COUNTERS = 40  # EMBER_COUNTER_TYPE_COUNT


@dataclass(slots=True)
class InitialSecurity:
    """EmberInitialSecurityState as the host gave it; it takes effect at form or join."""

    bitmask: int
    preconfigured_key: bytes
    network_key: bytes
    network_key_sequence: int
    trust_center_eui64: int


@dataclass(slots=True)
class Session:
    """The volatile half of a stick."""

    version: int
    stack: Stack
    strict: bool = False
    version_set: bool = False  # the host asked for the version this stick speaks
    configuration: dict[int, int] = field(default_factory=dict)
    values: dict[int, bytes] = field(default_factory=dict)
    policies: dict[int, int] = field(default_factory=dict)
    multicasts: dict[int, dict[str, int]] = field(default_factory=dict)
    addresses: dict[int, tuple[int, int]] = field(default_factory=dict)  # index: EUI-64, node id
    bindings: dict[int, dict[str, int]] = field(default_factory=dict)
    binding_nodes: dict[int, int] = field(default_factory=dict)  # index: node id, as the host says
    eavesdrops: bool = False  # it is a sniffer, and takes part in nothing
    security: InitialSecurity | None = None
    cbke: CbkeEngine | None = None  # None: this stick's image has only the stub of the library
    aps_counters: list[int] = field(default_factory=lambda: [0] * COUNTERS)
    counters_cleared: list[int] = field(default_factory=list)  # what they were at the last clear


Fields = dict[str, Any]
Handler = Callable[[Session, Fields], Fields]
