"""A firmware update over several hops: hub, router, device, each a stick with bellows before it."""

from __future__ import annotations

import pytest
from bench_support import NEW, bench, house, make_image
from test_hub_and_device import ready, updated

from emulator.devices import models
from emulator.devices.ota_server import ResponseCode, TransferOutcome

EUI64 = 0x02484E4200000010
RELAY = EUI64 + 1
KIB_4 = 4096


@pytest.mark.parametrize("ezsp", [8, 14])
async def test_a_device_that_only_its_neighbour_hears_is_updated(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        home = await house(made)
        await home.add(EUI64)
        await home.add(RELAY)
        await ready(home, EUI64, RELAY)
        made.medium.separate("hub", f"device-{EUI64:X}")
        made.frames.clear()
        image = make_image(KIB_4)
        home.hub.update(image, [EUI64])
        up = await updated(home, EUI64)
        assert (up.file_version, up.sha256) == (NEW, image.sha256)
        (outcome,) = home.told(TransferOutcome)
        assert (outcome.eui64, outcome.response_code) == (EUI64, ResponseCode.SUCCESS)
        relay = made.sticks[f"device-{RELAY:X}"].stack
        far = made.sticks[f"device-{EUI64:X}"].stack.short_address
        route = made.sticks["hub"].stack.routing.routes.get(far)
        assert route is not None
        assert route.next_hop == relay.short_address


@pytest.mark.parametrize("ezsp", [8, 14])
async def test_a_source_route_makes_the_blocks_smaller_not_more_frames(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        home = await house(made)
        await home.add(EUI64)
        await home.add(RELAY)
        await ready(home, EUI64, RELAY)
        made.medium.separate("hub", f"device-{EUI64:X}")
        await home.hub.node.ezsp.set_source_routing(True)  # type: ignore[attr-defined]
        far = made.sticks[f"device-{EUI64:X}"].stack.short_address
        hub = made.sticks["hub"].stack
        await made.until(lambda: hub.routing.source_routes.get(far))
        relay = made.sticks[f"device-{RELAY:X}"].stack.short_address
        assert hub.routing.source_routes.get(far) == (relay,)
        made.frames.clear()
        image = make_image(KIB_4)
        home.hub.update(image, [EUI64])
        up = await updated(home, EUI64)
        assert up.sha256 == image.sha256
        (outcome,) = home.told(TransferOutcome)
        assert outcome.response_code is ResponseCode.SUCCESS
        blocks = [one for one in made.opened() if one.source == 0 and one.destination == far]
        assert not any(
            one.frame.fragmentation for one in blocks if one.frame.cluster == models.OTA_UPGRADE
        )
        # 52 octets and the four of the source route fill the frame
        assert max(len(psdu) for psdu in made.frames) == 127
        assert sum(len(psdu) == 127 for psdu in made.frames) >= 2 * (KIB_4 // 52)
