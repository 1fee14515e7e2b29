"""The head end and the 46 kinds of damaged image: each posted as an 11.4 over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from damage_table import CASES, IN_TRANSIT, NEW, TAKEN, damaged, fate, original
from dsp_rig import HUB, PPMID, ImageOffer, Rig, cpl_entry, running

from dsp_stub.cpl import image_hash
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
        digest = image_hash(listed, rig.options.cpl_hash)
        entry = cpl_entry("ppmid", image.header.file_version)
        rig.desk.cpl.add(replace(entry, image_hash=digest))
    answer = await rig.ask("11.4", UpdatePpmidFirmware(data, f"{version:08X}", (PPMID,)))
    if answer.response_code == TAKEN:
        offer = rig.wan[HUB].take(ImageOffer)
        assert offer.image == data
        rig.outcome(PPMID, offer.reference, DeliveryResult.REFUSED)
        await rig.quiet()
    assert not rig.wan[HUB].messages
    return answer.response_code


@cache
def observed(option: str = "", value: object = "") -> dict[tuple[str, str], str]:
    async def observe() -> dict[tuple[str, str], str]:
        options = Options.model_validate({option: value} if option else {})
        with tempfile.TemporaryDirectory() as folder:
            async with running(Path(folder), options) as rig:
                return {case: await outcome(rig, *case) for case in CASES}

    return asyncio.run(observe())


@pytest.mark.requirement("MP170-R12", "good", "bad")
@cases
def test_the_head_end_takes_or_refuses_a_damaged_image_as_the_table_says(
    name: str, variant: str
) -> None:
    assert observed()[name, variant] == fate(name, variant).dsp


MOVES = {
    ("unit", "kb"): {("size-cap", "kib")},
    ("scope", "body"): {("size-cap", "over")},
    ("cpl_hash", "whole-file"): {("image-type", "plain")},
    ("commissioned", "strict"): {case for case in CASES if fate(*case).dsp == TAKEN},
}


@pytest.mark.matrix
@pytest.mark.parametrize("option", MOVES)
def test_an_option_of_the_head_end_moves_what_it_is_about_and_nothing_else(
    option: tuple[str, str],
) -> None:
    plain, other = observed(), observed(*option)
    assert {case for case in CASES if plain[case] != other[case]} == MOVES[option]
