"""A Prepayment Meter Interface Device as the air sees it.

Source: Smart Energy profile 07-5356, 6.7 (Prepayment Terminal 0x0506); GBCS 10 (a PPMID serves the
tunnel that the hub opens).
"""

from __future__ import annotations

from emulator.devices import models
from emulator.devices.models import DeviceModel
from emulator.devices.node import SmartEnergyEndpoint

PPMID = DeviceModel(
    "ppmid",
    (
        SmartEnergyEndpoint(
            models.DEVICE_ENDPOINT,
            models.PREPAYMENT_TERMINAL,
            (models.BASIC, models.TUNNELLING),
            (
                models.TIME,
                models.PRICE,
                models.METERING,
                models.MESSAGING,
                models.PREPAYMENT,
                models.CALENDAR,
                models.DEVICE_MANAGEMENT,
                models.EVENTS,
                models.OTA_UPGRADE,
                models.KEEP_ALIVE,
            ),
        ),
    ),
)
