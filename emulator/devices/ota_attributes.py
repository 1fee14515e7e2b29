"""The attributes of an OTA client, as a server may read them.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade), attributes.
"""

from __future__ import annotations

import zlib

from emulator.devices.flash import Flash, Slot
from emulator.devices.ota_rules import OtaClientIdentity, OtaClientParameters
from emulator.zigbee import ota
from emulator.zigbee.ota import Attribute, ImageUpgradeStatus
from emulator.zigbee.zcl import AttributeValue, DataType


def client_attributes(
    identity: OtaClientIdentity,
    flash: Flash,
    parameters: OtaClientParameters,
    *,
    server_eui64: int,
    upgrade_status: ImageUpgradeStatus,
    offered_version: int,
    block_period: int,
) -> dict[int, AttributeValue]:
    """Their values now; `offered_version` is that of the image under way, if one is."""
    is_downloaded = upgrade_status >= ImageUpgradeStatus.DOWNLOAD_COMPLETE
    stack, downloaded = ota.STACK_VERSION_PRO, ota.ANY_FILE_VERSION
    downloaded_stack = ota.UNKNOWN_STACK_VERSION
    if is_downloaded:
        downloaded, downloaded_stack = offered_version, stack
    offset = flash.written_bytes if flash.is_filling else ota.NO_FILE_OFFSET
    values: dict[int, AttributeValue] = {
        Attribute.UPGRADE_SERVER_ID: (DataType.EUI64, server_eui64),
        Attribute.FILE_OFFSET: (DataType.UINT32, offset),
        Attribute.CURRENT_FILE_VERSION: (DataType.UINT32, identity.file_version),
        Attribute.CURRENT_ZIGBEE_STACK_VERSION: (DataType.UINT16, stack),
        Attribute.DOWNLOADED_FILE_VERSION: (DataType.UINT32, downloaded),
        Attribute.DOWNLOADED_ZIGBEE_STACK_VERSION: (DataType.UINT16, downloaded_stack),
        Attribute.IMAGE_UPGRADE_STATUS: (DataType.ENUM8, upgrade_status),
        Attribute.MANUFACTURER_ID: (DataType.UINT16, identity.manufacturer_code),
        Attribute.IMAGE_TYPE_ID: (DataType.UINT16, identity.image_type),
        Attribute.MINIMUM_BLOCK_PERIOD: (DataType.UINT16, block_period),
        Attribute.UPGRADE_ACTIVATION_POLICY: (
            DataType.ENUM8,
            0 if parameters.activate_by_server else 1,
        ),
        Attribute.UPGRADE_TIMEOUT_POLICY: (
            DataType.ENUM8,
            0 if parameters.activate_without_answer else 1,
        ),
        Attribute.CLUSTER_REVISION: (DataType.UINT16, parameters.cluster_revision),
    }
    running = flash.read(Slot.RUNNING)
    if running:  # nothing is kept of an image from the factory
        values[Attribute.IMAGE_STAMP] = (DataType.UINT32, zlib.crc32(running))
    return values
