"""What the device keeps without power: a document that is replaced whole, and the file it loads.

The document is written to the disk before anything it says is acted on. The length of the file
that is being loaded is how far the download has come.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Memory:
    """The document. `alert` is a frame nobody has acknowledged; `sent_alert` the last that was."""

    version: int
    originator_counter: int = 0
    acb_counter: int = 0
    alert: str = ""
    sent_alert: str = ""
    tunnel: list[int] = field(default_factory=list)  # node, endpoint and id, while one is open
    download: list[int] = field(default_factory=list)  # manufacturer, type, version, size


class Storage:
    """The folder of one device."""

    def __init__(self, folder: Path, image_file: Path | None, factory_version: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "memory.json"
        self.image_file = image_file or folder / "image.ota"
        if self._path.exists():
            self.memory = Memory(**json.loads(self._path.read_text()))
        else:
            self.memory = Memory(factory_version)

    def save(self) -> None:
        draft = self._path.with_suffix(".part")
        with draft.open("w") as file:
            json.dump(asdict(self.memory), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    # -- the file that is being loaded -------------------------------------------------------

    @property
    def loaded_octets(self) -> int:
        return self.image_file.stat().st_size if self.image_file.exists() else 0

    def append(self, block: bytes) -> None:
        with self.image_file.open("ab") as file:
            file.write(block)

    def read_image(self) -> bytes:
        return self.image_file.read_bytes() if self.image_file.exists() else b""

    def begin_download(self, manufacturer: int, image_type: int, version: int, size: int) -> None:
        self.image_file.unlink(missing_ok=True)
        self.memory.download = [manufacturer, image_type, version, size]
        self.save()

    def drop_download(self) -> None:
        self.memory.download = []
        self.save()
        self.image_file.unlink(missing_ok=True)
