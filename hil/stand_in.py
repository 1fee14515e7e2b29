"""An OTA server of the bench's own, for one device, that can do what no good hub would.

Source: ZigBee OTA Upgrade cluster 095264r23, 6.10. It answers in the hub's place (`ota_tap`), so
that neither hub nor DSP knows of the file it serves: no update of theirs is begun, and none is left
open. A file that is served so is not meant to be activated: a good device refuses it in the end, or
is told ABORT before.
"""

from __future__ import annotations

from collections.abc import Callable

from emulator.zigbee import ota
from emulator.zigbee.zcl import Status

BLOCK_OCTETS = 48
VERSION_AT = 14  # of the file version in an OTA header, 095264r23 6.3.2

Answer = Callable[[int, ota.ImageBlockRequest, ota.ImageBlockResponse], ota.OtaCommand | None]
"""What the nth block request (from 1) is answered with, instead of this block; None for this."""


def relabelled(data: bytes, version: int) -> bytes:
    """The same file with another version in its header: no hash over it holds any more."""
    return data[:VERSION_AT] + version.to_bytes(4, "little") + data[VERSION_AT + 4 :]


class StandIn:
    """Offers one file to one device, as long as it is not `over`."""

    def __init__(
        self,
        eui64: int,
        data: bytes,
        ids: tuple[int, int, int],
        answer: Answer = lambda _number, _request, _block: None,
    ) -> None:
        self.eui64 = eui64
        self.data = data
        self.ids = ids  # manufacturer code, image type, file version: as offered
        self.answer = answer
        self.over = False
        self.blocks = 0

    def __call__(self, eui64: int, command: ota.OtaCommand) -> ota.OtaCommand | None:
        if eui64 != self.eui64:
            return None
        match command:
            case ota.QueryNextImageRequest():
                if self.over:
                    return ota.QueryNextImageResponse(Status.NO_IMAGE_AVAILABLE)
                return ota.QueryNextImageResponse(Status.SUCCESS, *self.ids, len(self.data))
            case ota.ImageBlockRequest():
                return self._block(command)
            case ota.UpgradeEndRequest(status=Status.SUCCESS):
                # Wait for the word, which never comes: what it says it has is not to run.
                return ota.UpgradeEndResponse(*self.ids, 0, ota.WAIT_FOR_UPGRADE_COMMAND)
        return None

    def _block(self, request: ota.ImageBlockRequest) -> ota.OtaCommand:
        self.blocks += 1
        at = request.file_offset
        data = self.data[at : at + min(request.maximum_data_size, BLOCK_OCTETS)]
        if self.over or not data:
            return ota.ImageBlockRefused(Status.ABORT)
        block = ota.ImageBlockResponse(*self.ids, at, data)
        return self.answer(self.blocks, request, block) or block
