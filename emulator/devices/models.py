"""What distinguishes a PPMID from an Alt HAN bridge on the air: endpoints, clusters, device ids.

Source: Smart Energy profile 07-5356, 6 (device ids); MP170 annex A (bridges are treated as PPMIDs);
the cluster lists are inferred where no public text has them (docs/open-points.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from emulator.devices.node import SmartEnergyEndpoint

BASIC = 0x0000
TIME = 0x000A
OTA_UPGRADE = 0x0019
KEEP_ALIVE = 0x0025
PRICE = 0x0700
METERING = 0x0702
MESSAGING = 0x0703
TUNNELLING = 0x0704
PREPAYMENT = 0x0705
CALENDAR = 0x0707
DEVICE_MANAGEMENT = 0x0708
EVENTS = 0x0709
KEY_ESTABLISHMENT = 0x0800

ENERGY_SERVICES_INTERFACE = 0x0500
PREPAYMENT_TERMINAL = 0x0506

HUB_ENDPOINT = 1
HUB_TUNNEL_ENDPOINT = 3
DEVICE_ENDPOINT = 1


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """The Smart Energy face of a product."""

    kind: str
    endpoints: tuple[SmartEnergyEndpoint, ...]


def without_tunnel(model: DeviceModel) -> DeviceModel:
    """The same product with no Tunnelling cluster: it has firmware from its hub and tells nothing
    of it, and a hub that goes by clusters takes it for a Type 2 device (MP170, annex A)."""
    endpoints = tuple(
        replace(one, server_clusters=tuple(c for c in one.server_clusters if c != TUNNELLING))
        for one in model.endpoints
    )
    return replace(model, endpoints=endpoints)


HUB_ENDPOINTS = (
    SmartEnergyEndpoint(
        HUB_ENDPOINT,
        ENERGY_SERVICES_INTERFACE,
        (BASIC, TIME, OTA_UPGRADE, KEEP_ALIVE),
        (BASIC,),
    ),
    # 2 is the gas proxy's mirror, which this hub has not.
    SmartEnergyEndpoint(HUB_TUNNEL_ENDPOINT, ENERGY_SERVICES_INTERFACE, (BASIC,), (TUNNELLING,)),
)
"""A Communications Hub as far as this bench goes; Key Establishment is not there without CBKE."""
