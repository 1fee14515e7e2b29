"""What a hub's OTA server must not forget over a restart, but for the image itself.

Source: ours. One record, written as a whole before anything is said because of what changed in it:

    offers        one for each device: which file, what became of it (`OfferRecord`)
    requests      the request that was last taken for each device, and for which file
    products      what each device said it is when it last asked for an image
    unreported    outcomes that nobody is known to have reported
    number        of the last outcome
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from emulator.devices.nonvolatile import Power, Record
from emulator.devices.ota_offer import Numbers, Offer, OfferRecord
from emulator.devices.ota_server_outputs import Output, ResponseCode, TransferOutcome
from firmware_images.header import OtaHeader

# Devices of which the last request is known, those that left among them.
MAX_REQUESTS = 32
# Outcomes that nobody reports, in a hub that has nobody to report them to.
MAX_UNREPORTED = 32


class Product(NamedTuple):
    """What a device said it is when it last asked for an image."""

    manufacturer_code: int
    image_type: int
    hardware_version: int | None

    def misfit(self, header: OtaHeader) -> str | None:
        """Why a file is none for it; None when it is."""
        if (header.manufacturer_code, header.image_type) != self[:2]:
            return f"the device is manufacturer {self[0]:04X} type {self[1]:04X}"
        if self.hardware_version is None or header.fits_hardware(self.hardware_version):
            return None
        return f"the device's hardware is {self.hardware_version:04X}"


class Ledger:
    """Of one hub. A request is a number and the file that it was for."""

    def __init__(self, record: Record, power: Power) -> None:
        self.products: dict[int, Product] = {}
        self.unreported: list[TransferOutcome] = []
        self.numbers = Numbers()
        self._record = record
        self._power = power
        self._requests: dict[int, tuple[int, str]] = {}
        self._devices: set[int] = set()
        self._is_changed = False

    def restore(self) -> list[OfferRecord]:
        """Read the record; the offers in it, none in a new hub."""
        octets = self._record.read()
        if octets is None:
            return []
        stored = json.loads(octets)
        self.numbers.last = stored["number"]
        self._requests = {eui64: (number, file) for eui64, number, file in stored["requests"]}
        self.products = {eui64: Product(*product) for eui64, *product in stored["products"]}
        self.unreported = [
            TransferOutcome(eui64, version, ResponseCode(code), reason, number)
            for eui64, version, code, reason, number in stored["unreported"]
        ]
        offers = [OfferRecord(eui64, tuple(ids), *rest) for eui64, ids, *rest in stored["offers"]]
        self._devices = {record.eui64 for record in offers}
        return offers

    def keep(self, offers: Iterable[Offer], outputs: Iterable[Output]) -> None:
        """Write the record if it would say anything new."""
        offers = list(offers)
        known = {one.number for one in self.unreported}
        outcomes = [one for one in outputs if isinstance(one, TransferOutcome)]
        self.unreported += [one for one in outcomes if one.number not in known]
        devices = {offer.eui64 for offer in offers}
        changed = [offer for offer in offers if offer.is_changed]
        if not changed and not outcomes and not self._is_changed and devices == self._devices:
            return
        del self.unreported[:-MAX_UNREPORTED]
        stored = {
            "number": self.numbers.last,
            "requests": [(eui64, *request) for eui64, request in self._requests.items()],
            "products": [(eui64, *product) for eui64, product in self.products.items()],
            "unreported": [
                (one.eui64, one.file_version, one.response_code, one.reason, one.number)
                for one in self.unreported
            ],
            "offers": [offer.record() for offer in offers],
        }
        self._record.write(self._power, "offers", json.dumps(stored).encode())
        for offer in changed:
            offer.is_changed = False
        self._devices = devices
        self._is_changed = False

    def reported(self, number: int) -> None:
        self.unreported = [one for one in self.unreported if one.number > number]

    def has_taken(self, eui64: int, request: tuple[int, str]) -> bool:
        return self._requests.get(eui64) == request

    def take(self, eui64: int, request: tuple[int, str]) -> None:
        self._requests.pop(eui64, None)
        self._requests[eui64] = request
        if len(self._requests) > MAX_REQUESTS:
            del self._requests[next(iter(self._requests))]
        self._is_changed = True

    def learn(self, eui64: int, product: Product, most: int) -> None:
        """What a device says it is; of one device more than there may be, nothing is kept."""
        if self.products.get(eui64) == product:
            return
        if eui64 in self.products or len(self.products) < most:
            self.products[eui64] = product
            self._is_changed = True

    def forget_product(self, eui64: int) -> None:
        self._is_changed |= self.products.pop(eui64, None) is not None
