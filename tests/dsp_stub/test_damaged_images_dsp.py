"""The head end and the 46 kinds of damaged image: each posted as an 11.4 over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from functools import cache
from pathlib import Path

import pytest
from damage_table import CASES, IN_TRANSIT, NEW, TAKEN, damaged, fate, original
from dsp_rig import HUB, PPMID, ImageOffer, Rig, cpl_entry, running

from dsp_stub.options import Options
from dsp_stub.requests import UpdatePpmidFirmware
from firmware_images.errors import ImageError
from firmware_images.image import read_image
from gbcs.wan import DeliveryResult

cases = pytest.mark.parametrize(("name", "variant"), CASES)


async def outcome(rig: Rig, name: str, variant: str) -> str:
    """The response code of a request with this image; an update that began is ended again."""
    # The list takes one file a version: each file has a version of its own.
    version = NEW + 2 + 2 * CASES.index((name, variant))
    sound = original(version)
    data = damaged(name, variant, sound)
    with contextlib.suppress(ImageError):
        image = read_image(data)
        if name != "file-version":  # the request does not say what the header says
            version = image.header.file_version
        # The version is that of the file that the maker made.
        listed = sound if name in IN_TRANSIT else image
        rig.desk.cpl.add(cpl_entry("ppmid", image.header.file_version, listed))
    answer = await rig.ask("11.4", UpdatePpmidFirmware(data, f"{version:08X}", (PPMID,)))
    if answer.response_code == TAKEN:
        offer = rig.wan[HUB].take(ImageOffer)
        assert offer.image == data
        rig.outcome(PPMID, offer.reference, DeliveryResult.REFUSED)
        await rig.quiet()
    assert not rig.wan[HUB].messages
    return answer.response_code


@cache
def observed(unit: str) -> dict[tuple[str, str], str]:
    async def observe() -> dict[tuple[str, str], str]:
        options = Options.model_validate({"unit": unit})
        with tempfile.TemporaryDirectory() as folder:
            async with running(Path(folder), options) as rig:
                return {case: await outcome(rig, *case) for case in CASES}

    return asyncio.run(observe())


@cases
def test_the_head_end_takes_or_refuses_a_damaged_image_as_the_table_says(
    name: str, variant: str
) -> None:
    assert observed("kib")[name, variant] == fate(name, variant).dsp


def test_the_meaning_of_750_kb_moves_the_sizes_between_its_readings_and_nothing_else() -> None:
    one, other = observed("kib"), observed("kb")
    assert {case for case in CASES if one[case] != other[case]} == {("size-cap", "kib")}
