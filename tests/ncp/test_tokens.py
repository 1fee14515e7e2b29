"""The custom EUI-64 of a stick: burnt once, in force after a restart, kept for good."""

from __future__ import annotations

import json

import bellows.types as t
import pytest
from bellows.ezsp import EZSP
from bench_support import Bench, bench

OLD = 0x02484E4200000001
NEW = t.EUI64.convert("00:11:22:33:44:55:66:77")
OTHER = t.EUI64.convert("00:11:22:33:44:55:66:78")
TOKEN = t.EzspMfgTokenId.MFG_CUSTOM_EUI_64


async def open_stick(bench: Bench) -> EZSP:
    ezsp = EZSP({"path": bench.stick("stick", OLD), "baudrate": 115200, "flow_control": None})
    await ezsp.connect(use_thread=False)
    bench.closing(ezsp.disconnect)
    return ezsp


async def eui64_of(ezsp: EZSP) -> t.EUI64:
    (eui64,) = await ezsp.getEui64()
    return eui64


async def restart(ezsp: EZSP) -> None:
    await ezsp.reset()
    await ezsp.version()


@pytest.mark.parametrize("version", [4, 13, 14, 19])
async def test_an_address_is_burnt_once_and_in_force_after_a_restart(version: int) -> None:
    async with bench(ezsp=version) as made:
        ezsp = await open_stick(made)
        before = await eui64_of(ezsp)
        assert await ezsp.can_burn_userdata_custom_eui64()
        await ezsp.write_custom_eui64(NEW, burn_into_userdata=True)
        assert await eui64_of(ezsp) == before
        await restart(ezsp)
        assert await eui64_of(ezsp) == NEW
        assert not await ezsp.can_burn_userdata_custom_eui64()
        (status,) = await ezsp.setMfgToken(tokenId=TOKEN, tokenData=OTHER.serialize())
        assert t.sl_Status.from_ember_status(status) == t.sl_Status.INVALID_STATE
        await restart(ezsp)
        assert await eui64_of(ezsp) == NEW


@pytest.mark.parametrize("octets", [b"", bytes(7), bytes(9), b"\xff" * 8])
async def test_what_is_no_address_burns_nothing(octets: bytes) -> None:
    async with bench(ezsp=14) as made:
        ezsp = await open_stick(made)
        stored = json.loads(made.sticks["stick"].stored)
        (status,) = await ezsp.setMfgToken(tokenId=TOKEN, tokenData=octets)
        assert status == t.sl_Status.INVALID_PARAMETER
        assert await ezsp.can_burn_userdata_custom_eui64()
        assert json.loads(made.sticks["stick"].stored) == stored


async def test_a_token_of_the_maker_is_not_for_the_host_to_burn() -> None:
    async with bench(ezsp=14) as made:
        ezsp = await open_stick(made)
        number = t.EzspMfgTokenId.MFG_BOARD_NAME
        (before,) = await ezsp.getMfgToken(tokenId=number)
        (status,) = await ezsp.setMfgToken(tokenId=number, tokenData=b"another".ljust(16))
        assert status == t.sl_Status.NOT_FOUND
        assert await ezsp.getMfgToken(tokenId=number) == [before]
