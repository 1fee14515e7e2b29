"""A radio that a labgrid place has: `labgrid://PLACE` becomes the URL of its serial port.

Source: labgrid's `labgrid-client -p PLACE show`, which tells the resources that match a place, each
as a Python dictionary; a `NetworkSerialPort` has host, port and protocol (RFC 2217 unless it says
"raw"). labgrid itself is not needed: its client is asked as a program, where there is such a radio.
"""

from __future__ import annotations

import re
import subprocess

from hil.errors import RequestError

SCHEME = "labgrid://"
CLIENT = "labgrid-client"
ASK_TIMEOUT_S = 20.0

_BLOCK = re.compile(r"^\S[^\n]*resource '(\w+)'[^\n]*:\n((?:[ \t]+[^\n]*\n?)+)", re.MULTILINE)
_PARAMETER = r"'{name}': (?:'([^']*)'|(\d+))"
_KIND = "NetworkSerialPort"


def serial_url(radio: str) -> str:
    """The URL to open: the radio itself, or what its labgrid place has. Raises RequestError."""
    if not radio.startswith(SCHEME):
        return radio
    place = radio.removeprefix(SCHEME)
    words = [CLIENT, "-p", place, "show"]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise RequestError(
            f"{radio} is a labgrid place, and there is no {CLIENT} here: pip install labgrid"
        ) from None
    except subprocess.TimeoutExpired:
        raise RequestError(
            f"{radio}: labgrid's coordinator does not answer in {ASK_TIMEOUT_S:g} s"
        ) from None
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["it says nothing"]
        raise RequestError(f"{radio}: {' '.join(words)} failed: {why[0]}")
    return read_show(radio, done.stdout)


def read_show(radio: str, text: str) -> str:
    """The URL of the one serial port in what `labgrid-client show` prints. Raises RequestError."""
    if re.search(r"^\s*acquired: None\s*$", text, re.MULTILINE):
        place = radio.removeprefix(SCHEME)
        raise RequestError(
            f"{radio} is not acquired: labgrid-client -p {place} acquire, then again"
        )
    ports = {
        url
        for kind, body in _BLOCK.findall(text)
        if kind == _KIND and (url := _url(body)) is not None
    }
    if len(ports) != 1:
        found = ", ".join(sorted(ports)) or "none"
        raise RequestError(f"{radio} has not one {_KIND} but {found}")
    return ports.pop()


def _url(body: str) -> str | None:
    host, port = _parameter(body, "host"), _parameter(body, "port")
    if host is None or port is None:
        return None
    protocol = _parameter(body, "protocol") or "rfc2217"
    return f"{'tcp' if protocol == 'raw' else protocol}://{host}:{port}"


def _parameter(body: str, name: str) -> str | None:
    found = re.search(_PARAMETER.format(name=name), body)
    return None if found is None else found[1] if found[1] is not None else found[2]
