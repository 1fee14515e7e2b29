"""The networks that real sticks are in before a bench takes them, and how they get them back.

Source: ours; DESIGN, "What it promises to the outside" (`--take-over`).

    the stick is in                      the bench
    -----------------------------------  ---------------------------------------------------------
    no network                           takes it, and leaves it so
    the network of this bench and seed   takes it, and leaves it blank: an earlier run was cut short
    another one                          refuses, but with --take-over
     which it coordinates                 keeps a backup, and forms it anew at the end
     which it has joined                  says that only its own hub can take it back

A backup holds keys: it is a file of mode 0600 beside the evidence folder, never in it, and goes
when the network is back. Where the bench could not, `zigpy radio ezsp PATH restore FILE` does it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from emulator.devices.node import HeldNetwork, NodeError
from emulator.devices.zigpy_node import ZigpyNode
from hil.errors import BenchBroke, RequestError

Tell = Callable[..., object]


class BorrowedNetworks:
    """What is put back at the end of a run, whatever became of it."""

    def __init__(self, radios: Mapping[str, str], evidence: Path, tell: Tell) -> None:
        self._radios = radios
        self._evidence = evidence
        self._tell = tell
        self._held: dict[str, HeldNetwork | None] = {}

    async def borrow(self, own_extended_pan_id: int, *, take_over: bool) -> None:
        """Look at every stick. Raises RequestError for one whose network may not be taken, before
        any is changed; BenchBroke for one that does not answer."""
        found: dict[str, HeldNetwork | None] = {}
        for name, url in self._radios.items():
            found[name] = held = await _look(url)
            if held is None or held.extended_pan_id == own_extended_pan_id:
                found[name] = None
            elif not take_over:
                raise RequestError(
                    f"the radio {url} is in a network that this bench did not form, "
                    f"{held.extended_pan_id:016X}: say --take-over to borrow it"
                )
        for name, held in found.items():
            if held is not None:
                self._keep(name, held)
            self._held[name] = held

    async def put_back(self) -> list[str]:
        """Every stick as it was. Each that could not be is told; the sentences about those that had
        a network of their own."""
        failed: list[str] = []
        for name, held in self._held.items():
            url = self._radios[name]
            has_backup = held is not None and held.backup is not None
            try:
                await _put_back(url, held)
            except NodeError as error:
                if has_backup:
                    failed.append(f"{error}; its network is kept in {self._file(name)}")
                detail = f"left as it is: {error}"
                self._tell("radio", device_id=name, url=url, detail=detail)
                continue
            if held is not None and has_backup:
                self._file(name).unlink()
                self._told(name, held, "put back")
        self._held = {}
        return failed

    def _keep(self, name: str, held: HeldNetwork) -> None:
        if held.backup is None:
            self._told(name, held, "left: only its own hub can take the stick back")
            return
        descriptor = os.open(self._file(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(held.backup)
            file.flush()
            os.fsync(file.fileno())
        self._told(name, held, f"borrowed, its backup is {self._file(name)} till then")

    def _file(self, name: str) -> Path:
        return self._evidence.with_name(f"{self._evidence.name}-{name}-network.json")

    def _told(self, name: str, held: HeldNetwork, what: str) -> None:
        detail = f"network {held.extended_pan_id:016X} {what}"
        self._tell("radio", device_id=name, url=self._radios[name], detail=detail)


async def _look(url: str) -> HeldNetwork | None:
    node = ZigpyNode(url, (), lambda _event: None)
    try:
        await node.open()
        return await node.held_network()
    except NodeError as error:
        raise BenchBroke(str(error)) from error
    finally:
        await node.close()


async def _put_back(url: str, held: HeldNetwork | None) -> None:
    node = ZigpyNode(url, (), lambda _event: None)
    try:
        await node.open()
        await node.put_back(held)
    finally:
        await node.close()
