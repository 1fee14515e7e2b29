"""The openssl command as a foreign hand at the two curves, which the Python bindings lack."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emulator.zigbee.cbke.binary_curve import KoblitzCurve
from emulator.zigbee.cbke.suites import KeyPair


def run(*arguments: str | Path) -> bytes:
    """The standard output of an openssl command."""
    words = ["openssl", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, check=True).stdout


def require(curve: KoblitzCurve) -> None:
    """Skip the test where openssl, or the curve in it, is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    if curve.name not in run("ecparam", "-list_curves").decode():
        pytest.skip(f"this openssl was built without {curve.name}")


def generate(curve: KoblitzCurve, path: Path) -> KeyPair:
    """A new key pair of openssl's, kept at `path` too."""
    path.write_bytes(
        run("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve.name}")
    )
    return read_key_pair(curve, path)


def read_key_pair(curve: KoblitzCurve, path: Path) -> KeyPair:
    text = run("ec", "-in", path, "-text", "-noout", "-conv_form", "compressed").decode()
    found = re.search(r"priv:\s*([0-9a-f:\s]+)pub:\s*([0-9a-f:\s]+)", text)
    assert found is not None, text
    secret, public = (bytes.fromhex(re.sub(r"[:\s]", "", part)) for part in found.groups())
    return KeyPair(secret.lstrip(b"\x00").rjust(curve.scalar_octets, b"\x00"), public)
