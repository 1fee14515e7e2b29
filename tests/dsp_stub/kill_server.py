"""A DSP that is started by a line on standard input, as often as one comes, to be killed.

One process has everything imported and forks for each line; the number of the child is its answer.
The arguments: the folder of the database, the port, the URL of callbacks, how many devices, and
when the test began (seconds since 1970, which is EPOCH to the DSP).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from dsp_rig import EPOCH, HUB, ORGANISATIONS, ROLES, dsp_keys, organisation

from dsp_stub.desk import Desk
from dsp_stub.http import DspServer
from dsp_stub.options import Options
from dsp_stub.service import Dsp
from dsp_stub.store import Store
from dsp_stub.users import User, Users
from gbcs.certificates import CertificateStore
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64

FIRST_DEVICE = 0x00DB_7100_0000_0000


def users(callback: str) -> Users:
    return Users(
        User(eui64, role, organisation(eui64, KeyUse.XML_SIGNATURE)[0], callback)
        for eui64, role in ROLES.items()
    )


def desk(folder: Path, callback: str, keys: CertificateStore) -> Desk:
    store = Store(folder / "dsp.sqlite")
    return Desk(store, users(callback), keys, ACB_EUI64, Options(anomaly_threshold=1_000_000))


async def serve(
    folder: Path, port: int, callback: str, keys: CertificateStore, began_s: float
) -> None:
    dsp = Dsp(desk(folder, callback, keys))
    server = DspServer(dsp, lambda: EPOCH + timedelta(seconds=time.time() - began_s))
    await server.start("127.0.0.1", port)
    await asyncio.Event().wait()


def main() -> None:
    folder, port, callback, count, began_s = sys.argv[1:]
    keys = dsp_keys((HUB, *(FIRST_DEVICE + number for number in range(int(count)))))
    assert ORGANISATIONS
    print("ready", flush=True)
    child = 0
    for _ in sys.stdin:
        if child:
            os.waitpid(child, 0)
        child = os.fork()
        if not child:
            try:
                asyncio.run(serve(Path(folder), int(port), callback, keys, float(began_s)))
            finally:
                os._exit(1)
        print(child, flush=True)


if __name__ == "__main__":
    main()
