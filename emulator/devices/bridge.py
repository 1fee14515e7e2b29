"""The Alt HAN point-to-point bridges as the hub's air sees them.

Source: MP170, annex A (on HAN and WAN a bridge is a PPMID; CS08 and alert 0x8F8B need a tunnel).
The clusters are profile `gbcs` of docs/open-points.md. What a bridge relays on its other side, and
that bridge 4 sleeps, is not here yet: bridges 1 and 2 are always on.
"""

from __future__ import annotations

from emulator.devices import models
from emulator.devices.models import DeviceModel
from emulator.devices.node import SmartEnergyEndpoint

_ENDPOINT = SmartEnergyEndpoint(
    models.DEVICE_ENDPOINT,
    models.PREPAYMENT_TERMINAL,
    (models.BASIC, models.TUNNELLING),
    (models.OTA_UPGRADE, models.TIME, models.KEEP_ALIVE),
)

BRIDGE_1 = DeviceModel("bridge-1", (_ENDPOINT,))
BRIDGE_2 = DeviceModel("bridge-2", (_ENDPOINT,))
