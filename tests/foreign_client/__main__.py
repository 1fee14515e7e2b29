"""`python -m foreign_client`: the device as a process of its own. It restarts as a new process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from foreign_client import gbcs
from foreign_client.defects import DEFECTS
from foreign_client.device import Device, Settings
from foreign_client.image import Identity
from foreign_client.personality import PERSONALITIES
from foreign_client.stick import RadioError
from foreign_client.storage import Storage


def _arguments() -> argparse.Namespace:
    def hexadecimal(text: str) -> int:
        return int(text, 16)

    parser = argparse.ArgumentParser(prog="foreign_client", description=__doc__)
    add = parser.add_argument
    add("--list-defects", action="store_true", help="what can be wrong with it, and no more")
    add("--radio", help="the stick: tcp://HOST:PORT or the path of a serial port")
    add("--data", type=Path, help="the folder in which it keeps what it must not forget")
    add("--image-file", type=Path, help="where the file it loads lies, instead of in that folder")
    add("--keys", type=Path, help="folder of EUI64-ds.key, EUI64-ka.key and ACB-ka.pem")
    add("--eui64", type=hexadecimal, help="its address, which must be the stick's")
    add("--acb", type=hexadecimal, default=0x90B3D51F30000002)
    add("--install-code", type=bytes.fromhex, help="16 octets, without the CRC")
    add("--personality", choices=PERSONALITIES, default="ember")
    add("--defect", action="append", default=[], choices=DEFECTS, metavar="NAME")
    add("--channels", type=lambda text: list(map(int, text.split(","))), default=range(11, 27))
    add("--manufacturer", type=hexadecimal, default=0x121D)
    add("--image-type", type=hexadecimal, default=0x0084)
    add("--hardware", type=hexadecimal, default=0x1111)
    add("--version", type=hexadecimal, default=0x00010100, help="what it leaves the factory with")
    add("--query-period-s", type=float, default=300.0)
    add("--pace-s", type=float, default=0.0, help="between two block requests")
    add("--activation-s", type=float, default=1.0, help="from Upgrade End to the restart")
    arguments = parser.parse_args()
    needed = ("radio", "data", "keys", "eui64", "install_code")
    missing = [name for name in needed if getattr(arguments, name) is None]
    if missing and not arguments.list_defects:
        parser.error("say --" + ", --".join(missing).replace("_", "-"))
    return arguments


async def _live(arguments: argparse.Namespace, storage: Storage, keys: gbcs.Keys) -> None:
    settings = Settings(
        arguments.radio,
        arguments.install_code,
        list(arguments.channels),
        Identity(arguments.manufacturer, arguments.image_type, arguments.hardware, arguments.eui64),
        PERSONALITIES[arguments.personality],
        frozenset(arguments.defect),
        arguments.version,
        arguments.query_period_s,
        arguments.pace_s,
        arguments.activation_s,
    )
    await Device(settings, storage, keys, lambda text: print(text, flush=True)).live()


def main() -> None:
    arguments = _arguments()
    if arguments.list_defects:
        for name, shows in DEFECTS.items():
            print(f"{name:<30}  {shows}")
        return
    for name in ("bellows", "zigpy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        keys = gbcs.load_keys(arguments.keys, arguments.eui64, arguments.acb)
        storage = Storage(arguments.data, arguments.image_file, arguments.version)
        print(f"runs {storage.memory.version:08X}", flush=True)
        asyncio.run(_live(arguments, storage, keys))
    except* (RadioError, OSError) as errors:
        sys.exit(f"foreign_client: {errors.exceptions[0]}")
    except* KeyboardInterrupt:
        sys.exit(130)
    os.execv(sys.executable, [sys.executable, "-m", "foreign_client", *sys.argv[1:]])


if __name__ == "__main__":
    main()
