"""PPMIDs for SMETS1 and SMETS2+: which of the two one is, and what that allows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from dsp_rig import (
    BRIDGE,
    HUB,
    INSTALL_CODE,
    NEW,
    OLD,
    OTHER_HUB,
    PPMID,
    STRANGER,
    Device,
    Rig,
    found_as,
    made_image,
    running,
)

from dsp_stub.cpl import CplEntry
from dsp_stub.inventory_requests import NewDeviceStatus, UpdateInventory
from dsp_stub.options import Options
from dsp_stub.requests import (
    DevicePrenotification,
    ReadFirmwareVersion,
    UpdateHanDeviceLog,
    UpdatePpmidFirmware,
)
from dsp_stub.responses import (
    FirmwareWarning,
    ResponseMessage,
    UpdateHanDeviceLogResult,
)
from dsp_stub.smi import DeviceStatus, DeviceType, SmiDevice
from gbcs.device_log import AddDeviceResult, DlmsResult
from gbcs.wan import CommandForDevice

pytestmark = pytest.mark.real_clock

SMETS1, SMETS2 = "SMETS V1.2", "PPMIDTS V4.4"
HUBS = {SMETS1: OTHER_HUB, SMETS2: HUB}


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running(None) as rig:
        furnish(rig)
        yield rig


def furnish(rig: Rig) -> None:
    """The other hub is one of SMETS1."""
    found_as(rig.store, OTHER_HUB, smets_chts_version=SMETS1, gbcs_version="1.0")


def listed(smets_chts_version: str, gbcs_version: str, **changes: Any) -> CplEntry:
    fields: dict[str, Any] = {
        "device_type": DeviceType.PPMID,
        "manufacturer": "121D",
        "model": "00845555",
        "firmware_version": f"{OLD:08X}",
        "smets_chts_version": smets_chts_version,
        "gbcs_version": gbcs_version,
    }
    return CplEntry(**(fields | changes))


IN_SMETS1, IN_SMETS2 = listed(SMETS1, "1.0"), listed(SMETS2, "4.1")


async def announce(rig: Rig, smets_chts_version: str, device_id: int = STRANGER) -> str:
    body = DevicePrenotification(
        device_id=device_id,
        manufacturer="121D",
        model="00845555",
        device_type="PPMID",
        smets_chts_version=smets_chts_version,
        firmware_version=f"{OLD:08X}",
        ppmid_variant="PPMID",
    )
    return (await rig.ask("12.2", body)).response_code


async def add(rig: Rig, hub: int) -> str:
    body = UpdateHanDeviceLog(STRANGER, "Add", 90, INSTALL_CODE)
    return (await rig.ask("8.11", body, target=hub)).response_code


def confirm(rig: Rig, hub: int, *, succeeded: bool = True) -> None:
    """The hub answers, where it was asked: one of SMETS1 never is."""
    if hub == OTHER_HUB:
        return
    command = rig.wan[hub].take(CommandForDevice)
    device = Device(hub)
    if not succeeded:
        device.log_result = partial(AddDeviceResult, enable_joining=DlmsResult.OTHER_REASON)  # type: ignore[assignment]
    rig.from_device(hub, device.answer(command.frame), hub)


def held(rig: Rig, device_id: int = STRANGER) -> SmiDevice:
    device = rig.desk.inventory.get(device_id)
    assert device is not None
    return device


@pytest.mark.requirement("MP202-R4", "good", "bad")
async def test_a_dual_mode_ppmid_is_announced_as_either(rig: Rig) -> None:
    rig.desk.cpl.add(IN_SMETS1)
    assert await announce(rig, SMETS2) == "E120203", "neither is there but SMETS1"
    rig.desk.cpl.add(IN_SMETS2)
    assert await announce(rig, SMETS1, STRANGER + 1) == "I99"
    assert await announce(rig, SMETS2, STRANGER + 2) == "I99"
    assert await announce(rig, "PPMIDTS V4.5") == "E120203"
    assert held(rig, STRANGER + 1).gbcs_version == "1.0"
    assert held(rig, STRANGER + 2).gbcs_version == "4.1"


@pytest.mark.requirement("MP202-R5", "good")
@pytest.mark.parametrize("announced", [SMETS1, SMETS2])
@pytest.mark.parametrize("hub", [SMETS1, SMETS2])
async def test_the_hub_decides_which_smets_a_ppmid_is_of(
    rig: Rig, announced: str, hub: str
) -> None:
    for entry in (IN_SMETS1, IN_SMETS2):
        rig.desk.cpl.add(entry)
    await announce(rig, announced)
    assert await add(rig, HUBS[hub]) == "I99"
    confirm(rig, HUBS[hub])
    await rig.alert(UpdateHanDeviceLogResult)
    tied = held(rig)
    assert (tied.smets_chts_version, tied.gbcs_version, tied.status) == (
        hub,
        "1.0" if hub == SMETS1 else "4.1",
        DeviceStatus.WHITELISTED,
    )
    assert tied.chf == HUBS[hub]


@pytest.mark.requirement("MP202-R5", "bad")
async def test_an_addition_that_fails_changes_nothing(rig: Rig) -> None:
    for entry in (IN_SMETS1, IN_SMETS2):
        rig.desk.cpl.add(entry)
    await announce(rig, SMETS1)
    before = held(rig)
    assert await add(rig, HUB) == "I99"
    assert held(rig) == before, "nothing is known yet"
    confirm(rig, HUB, succeeded=False)
    await rig.alert(UpdateHanDeviceLogResult)
    assert held(rig) == before


@pytest.mark.requirement("MP202-R5", "bad")
async def test_an_addition_that_fails_at_the_provider_changes_nothing() -> None:
    async with running(None, Options(s1sp="fails")) as rig:
        furnish(rig)
        for entry in (IN_SMETS1, IN_SMETS2):
            rig.desk.cpl.add(entry)
        await announce(rig, SMETS2)
        before = held(rig)
        assert await add(rig, OTHER_HUB) == "I99"
        await rig.alert(UpdateHanDeviceLogResult)
        assert held(rig) == before
        codes = {one.message.dcc_alert_code for _, one in rig.told if one.response_code == "I0"}  # type: ignore[union-attr]
        assert codes == {"N25"}
        assert [one.response_code for _, one in rig.told if one.response_code != "I0"] == ["E20"]


@pytest.mark.requirement("MP202-R5", "bad")
async def test_a_ppmid_that_is_installed_is_left_alone(rig: Rig) -> None:
    before = held(rig, PPMID)
    rig.desk.cpl.add(replace(IN_SMETS1, model=before.model, firmware_version=f"{OLD:08X}"))
    body = UpdateHanDeviceLog(PPMID, "Add", 90, INSTALL_CODE)
    assert (await rig.ask("8.11", body, target=OTHER_HUB)).response_code == "E081101"
    assert held(rig, PPMID) == before


@pytest.mark.requirement("MP202-R5", "bad")
async def test_a_ppmid_that_was_installed_meanwhile_is_left_alone(rig: Rig) -> None:
    for entry in (IN_SMETS1, IN_SMETS2):
        rig.desk.cpl.add(entry)
    await announce(rig, SMETS1)
    assert await add(rig, HUB) == "I99"
    installed = UpdateInventory(STRANGER, NewDeviceStatus("InstalledNotCommissioned"))
    assert (await rig.ask("8.4", installed)).response_code == "I99"
    confirm(rig, HUB)
    await rig.alert(UpdateHanDeviceLogResult)
    left = held(rig)
    assert (left.chf, left.status) == (HUB, DeviceStatus.INSTALLED_NOT_COMMISSIONED)
    assert left.smets_chts_version == SMETS1


@pytest.mark.requirement("MP202-R5", "good")
async def test_requests_for_smets1_build_no_gbcs_and_reach_no_air(rig: Rig) -> None:
    for entry in (IN_SMETS1, IN_SMETS2):
        rig.desk.cpl.add(entry)
    await announce(rig, SMETS2)
    assert await add(rig, OTHER_HUB) == "I99"
    await rig.alert(UpdateHanDeviceLogResult)
    answer = await rig.ask("11.2", ReadFirmwareVersion(), target=STRANGER)
    assert answer.response_code == "I99"
    response = await rig.response(str(answer.request_id))
    assert response.response_code == "I0"
    assert isinstance(response.message, ResponseMessage)
    assert response.message.content is None
    assert not any(end.messages for end in rig.wan.values())
    assert rig.desk.commands.originator_counter == 0
    handed = rig.store.connection.execute(
        "SELECT detail FROM attempts WHERE event = 's1sp' AND device = ?", (f"{STRANGER:016X}",)
    ).fetchall()
    assert [detail for (detail,) in handed] == [
        "8.11 carried out by the stand-in",
        "11.2 carried out by the stand-in",
    ]


@pytest.mark.requirement("MP202-R6", "good", "bad")
@pytest.mark.parametrize(
    ("announced", "hub", "other", "removed", "words"),
    [
        (SMETS2, SMETS1, None, False, "the PPMID is not dual mode: the CPL has no entry of SMETS1"),
        (SMETS1, SMETS2, None, False, "not dual mode: the CPL has no entry of SMETS2+"),
        (SMETS2, SMETS1, IN_SMETS1, True, "every entry of SMETS1 for .* is Removed"),
        (SMETS1, SMETS2, IN_SMETS2, True, "every entry of SMETS2\\+ for .* is Removed"),
        (
            SMETS2,
            SMETS1,
            replace(IN_SMETS1, firmware_version="00010999"),
            False,
            "firmware 00010100",
        ),
        (SMETS2, SMETS1, replace(IN_SMETS1, model="00845556"), False, "model 121D 00845555"),
    ],
)
async def test_an_addition_without_a_matching_model_is_refused_with_the_cause(
    rig: Rig, announced: str, hub: str, other: CplEntry | None, removed: bool, words: str
) -> None:
    rig.desk.cpl.add(IN_SMETS1 if announced == SMETS1 else IN_SMETS2)
    if other is not None:
        rig.desk.cpl.add(other)
    await announce(rig, announced)
    if removed:
        assert other is not None
        rig.desk.cpl.remove(other.identity)
    before = held(rig)
    assert await add(rig, HUBS[hub]) == "E081110"
    assert held(rig) == before
    assert not any(end.messages for end in rig.wan.values())
    ((sentence,),) = rig.store.connection.execute(
        "SELECT detail FROM refusals WHERE code = 'E081110'"
    ).fetchall()
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(sentence)


@pytest.mark.requirement("MP202-R6", "bad")
async def test_a_model_removed_since_it_was_announced_is_refused(rig: Rig) -> None:
    rig.desk.cpl.add(IN_SMETS2)
    await announce(rig, SMETS2)
    rig.desk.cpl.remove(IN_SMETS2.identity)
    assert await add(rig, HUB) == "E081110"


@pytest.mark.requirement("MP202-R5", "good")
async def test_of_several_specifications_the_announced_one_is_kept(rig: Rig) -> None:
    rig.desk.cpl.add(IN_SMETS2)
    rig.desk.cpl.add(listed("PPMIDTS V4.5", "4.2"))
    await announce(rig, SMETS2)
    assert await add(rig, HUB) == "I99"
    confirm(rig, HUB)
    await rig.alert(UpdateHanDeviceLogResult)
    assert (held(rig).smets_chts_version, held(rig).gbcs_version) == (SMETS2, "4.1")


# -- firmware over the air ---------------------------------------------------------------------


async def update(rig: Rig, device_id: int = PPMID, kind: str = "ppmid") -> tuple[str, Any]:
    body = UpdatePpmidFirmware(made_image(kind).data, f"{NEW:08X}", (device_id,))
    answer = await rig.ask("11.4", body)
    assert isinstance(answer.message, ResponseMessage)
    content = answer.message.content
    return answer.response_code, content.lists() if isinstance(content, FirmwareWarning) else {}


@pytest.mark.requirement("MP202-R7", "good")
@pytest.mark.parametrize("version", [SMETS2, "SMETS V1.58", "SMETS V2.0"])
async def test_a_ppmid_tied_to_smets2_takes_firmware(rig: Rig, version: str) -> None:
    found_as(rig.store, PPMID, smets_chts_version=version)
    assert await update(rig) == ("I99", {})


@pytest.mark.requirement("MP202-R7", "bad")
async def test_a_ppmid_tied_to_smets1_takes_none(rig: Rig) -> None:
    found_as(rig.store, PPMID, smets_chts_version=SMETS1)
    lists = {"NotApplicableFirmwareDeviceIDList": (PPMID,)}
    assert await update(rig) == ("E110403", lists)
    assert not rig.wan[HUB].messages


@pytest.mark.requirement("MP0007-GBCS", "bad")
@pytest.mark.parametrize("low", [PPMID, HUB])
@pytest.mark.parametrize("version", ["4.0", "3.2", None])
async def test_a_gbcs_version_below_4_1_of_hub_or_target_stops_it(
    rig: Rig, low: int, version: str | None
) -> None:
    found_as(rig.store, low, gbcs_version=version)
    assert await update(rig) == ("E110403", {"InvalidGBCSVersionList": (PPMID,)})
    assert not rig.wan[HUB].messages


@pytest.mark.requirement("MP0007-GBCS", "good")
async def test_the_same_request_passes_once_the_hub_is_upgraded(rig: Rig) -> None:
    found_as(rig.store, HUB, gbcs_version="3.2")
    body = UpdatePpmidFirmware(made_image().data, f"{NEW:08X}", (PPMID,))
    octets = rig.request("11.4", body)
    assert (await rig.post(octets)).response_code == "E110403"
    rig.desk.inventory.set_firmware_version(HUB, "00020000", gbcs_version="4.1")
    assert (await rig.post(octets)).response_code == "I99"


@pytest.mark.requirement("MP0007-GBCS", "good", "bad")
async def test_the_devices_whose_gbcs_fits_go_ahead(rig: Rig) -> None:
    for number in (1, 2):
        rig.desk.inventory.add(replace(held(rig, PPMID), device_id=number))
    found_as(rig.store, 2, gbcs_version="4.0")
    body = UpdatePpmidFirmware(made_image().data, f"{NEW:08X}", (1, 2))
    answer = await rig.ask("11.4", body)
    assert answer.response_code == "W110401"
    assert rig.take_offer().devices == (1,)
    assert rig.desk.updates.open_update(BRIDGE) is None
