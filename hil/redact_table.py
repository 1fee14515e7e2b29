"""Who is who in an evidence folder, and who they are called instead.

Source: ours. An EUI-64 is found by whoever tells it and replaced wherever its octets are: in both
octet orders, as octets, as hexadecimal digits in either case with and without separators, and in
base64. Its pseudonym is a locally administered EUI-64 that counts, so two files of one folder still
agree, and nobody can compute back. Octets that could confirm a guess, as signatures, MACs and keys
can, become zeros.

Words are learnt where they stand for somebody for certain, and replaced wherever they stand alone:

    learnt from                           replaced everywhere
    ------------------------------------  ------------------------------------------------------
    a URL                                 the URL; its host, the host's first label and domain; its
                                          user and password
    a path in /dev                        the path; the serial number in a name by udev
    /home/NAME, /Users/NAME               NAME
    NAME@HOST                             the whole, NAME
    a private IPv4 address                the address

A word that is one of the bench's own is left where it stands alone ("hub" is no host's name).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from hil.redact_base64 import replace_inside

_PREFIX = bytes.fromhex("025245444143")  # locally administered, then REDAC
_SEPARATORS = ("", "-", ":", " ")
_MIN_BLANK = 8
_URL = re.compile(rb"(?<![A-Za-z0-9+.-])([a-z][a-z0-9+.-]*)://([^\s\"'<>\\,;)]+)")
_DEVICE_PATH = re.compile(rb"/dev/[A-Za-z0-9_./:@+-]+")
_PUBLIC_HOSTS = (b"www.w3.org", b"www.dccinterface.co.uk", b"json-schema.org")
_NOBODYS_HOSTS = (b"localhost", b"0.0.0.0", b"::", b"::1")
_HOME = re.compile(rb"/(?:home|Users)/([^\s\"'/<>&]+)")
_ADDRESS = re.compile(rb"([A-Za-z0-9._+-]+)@([A-Za-z0-9][A-Za-z0-9.-]*)")
_PRIVATE_IPV4 = re.compile(
    rb"(?<![\w.-])(?:10\.\d{1,3}|172\.(?:1[6-9]|2\d|3[01])|192\.168|169\.254)(?:\.\d{1,3}){2}(?![\w.-])"
)
# Makers' names and models come before the serial number, the interface behind it.
_SERIAL_OF_UDEV = re.compile(rb"/by-id/[a-z]+-(?:[^/]*_)?([^/_]+?)(?:-if\d+)?(?:-port\d+)?$")
_SERIAL_OF_MACOS = re.compile(rb"/(?:tty|cu)\.[A-Za-z]+-([^/]+)$")
_OUR_WORDS = frozenset(
    b"acb address alert bench bridge command dcc dev device dsp gbcs hanbench host hub image lab"
    b" local network path ppmid radio run serial sniffer stick supplier test tests url user"
    b" verify".split()
)
_MIN_LABEL = 3  # shorter ones stand for too much else
_MIN_SERIAL = 4
_MAX_REGISTRY_LABEL = 3  # the co of co.uk
_HEX_FORM = re.compile(rb"(?:[0-9A-Fa-f]{2}[-:]){7}[0-9A-Fa-f]{2}")
_DIGITS = re.compile(rb"(?<![0-9A-Za-z])(?=[0-9]*[A-Fa-f])[0-9A-Fa-f]{16}(?![0-9A-Za-z])")


class _Name(NamedTuple):
    pseudonym: bytes
    kind: str

    def pattern(self, name: bytes) -> bytes:
        """Where it stands: udev puts a serial number between underscores."""
        around = rb"[A-Za-z0-9]" if self.kind == "serial" else rb"\w"
        return rb"(?<!" + around + rb")(?i:" + re.escape(name) + rb")(?!" + around + rb")"


class Table:
    """What is replaced by what. Everything is learnt before anything is replaced; `own` are words
    that name nobody in this evidence."""

    def __init__(self, own: Iterable[str] = ()) -> None:
        self._own = _OUR_WORDS | {word.lower().encode() for word in own}
        self._octets: dict[bytes, bytes] = {}
        self._words: dict[bytes, bytes] = {}
        self._names: dict[bytes, _Name] = {}
        self._count = 0
        self._patterns: tuple[re.Pattern[bytes], re.Pattern[bytes]] | None = None

    @property
    def count(self) -> int:
        """How many names there are."""
        return self._count

    def eui64(self, value: int) -> None:
        octets = value.to_bytes(8, "big")
        if octets in self._octets or len(set(octets)) == 1:
            return  # all zeros and all ones are nobody
        self._count += 1
        pseudonym = _PREFIX + self._count.to_bytes(2, "big")
        self._octets[octets] = pseudonym
        self._octets.setdefault(octets[::-1], pseudonym[::-1])

    def blank(self, octets: bytes) -> None:
        """Let these octets be zeros wherever they are."""
        if len(octets) >= _MIN_BLANK and any(octets):
            for each in (octets, octets[::-1]):
                self._octets.setdefault(each, bytes(len(octets)))

    def learn(self, text: bytes) -> None:
        """Whatever a text names that looks like one of those."""
        for match in _HEX_FORM.finditer(text):
            self.eui64(int(re.sub(rb"[-:]", b"", match[0]), 16))
        for match in _DIGITS.finditer(text):
            self.eui64(int(match[0], 16))
        for match in _URL.finditer(text):
            self._learn_url(match)
        for match in _DEVICE_PATH.finditer(text):
            self._word(match[0], "device-path")
            for pattern in (_SERIAL_OF_UDEV, _SERIAL_OF_MACOS):
                if (serial := pattern.search(match[0])) and len(serial[1]) >= _MIN_SERIAL:
                    self._name(serial[1], "serial")
        for match in _ADDRESS.finditer(text):
            self._name(match[0], "address")
            self._name(match[1], "user")
        for match in _HOME.finditer(text):
            self._name(match[1], "user")
        for match in _PRIVATE_IPV4.finditer(text):
            self._name(match[0], "host")

    def _learn_url(self, match: re.Match[bytes]) -> None:
        authority = re.split(rb"[/?#]", match[2], maxsplit=1)[0]
        userinfo, _, place = authority.rpartition(b"@")
        host = (place[1:].partition(b"]") if place[:1] == b"[" else place.partition(b":"))[0]
        if host in _PUBLIC_HOSTS or not host:
            return
        self._word(match[0], "url")
        for each in filter(None, userinfo.split(b":")):
            self._name(each, "user")
        if host.startswith(b"127.") or host in _NOBODYS_HOSTS:
            return
        self._name(host, "host")
        first, _, domain = host.partition(b".")
        if host.replace(b".", b"").isdigit():
            return
        self._name(first, "host")
        labels = domain.split(b".")
        is_registry = len(labels) == 2 and len(labels[0]) <= _MAX_REGISTRY_LABEL
        if len(labels) > 1 and not is_registry:
            self._name(domain, "host")

    def _word(self, word: bytes, kind: str) -> None:
        """What can be nothing else wherever it stands."""
        if word not in self._words:
            self._count += 1
            self._words[word] = f"{kind}-{self._count}".encode()

    def _name(self, name: bytes, kind: str) -> None:
        """What is somebody's name where it is a word of its own, written in either case."""
        plain = _plain(name).lower()
        if plain in self._own or plain in self._names or len(plain) < _MIN_LABEL:
            return
        if not any(97 <= octet <= 122 or octet > 127 for octet in plain) and kind == "user":
            return  # digits alone are no user's name
        self._count += 1
        new = _Name(f"{kind}-{self._count}".encode(), kind)
        for form in (plain, json.dumps(plain.decode("utf-8", "replace"))[1:-1].encode()):
            self._names[form] = new

    def _compiled(self) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
        if self._patterns is None:
            octets = sorted(self._octets, key=len, reverse=True)
            forms = [
                re.escape(separator.join(f"{octet:02x}" for octet in each)).encode()
                for each in octets
                for separator in (_SEPARATORS if len(each) == 8 else ("",))
            ]
            nothing = rb"(?!)"
            binary = b"|".join(map(re.escape, octets)) or nothing
            # words are as they are written, names and digits in either case
            words = [(word, re.escape(word)) for word in self._words]
            words += [(name, to.pattern(name)) for name, to in self._names.items()]
            words.sort(key=lambda one: len(one[0]), reverse=True)
            every = [*(pattern for _, pattern in words), *(b"(?i:" + form + b")" for form in forms)]
            text = b"|".join(every) or nothing
            self._patterns = re.compile(binary, re.DOTALL), re.compile(text)
        return self._patterns

    def binary(self, octets: bytes) -> bytes:
        return self._compiled()[0].sub(lambda match: self._octets[match[0]], octets)

    def text(self, text: bytes) -> bytes:
        """As text, with what is base64 in it opened."""
        return replace_inside(self._compiled()[1].sub(self._written, text), self.binary)

    def _written(self, match: re.Match[bytes]) -> bytes:
        found = match[0]
        if found in self._words:
            return self._words[found]
        if (name := self._names.get(found.lower())) is not None:
            return name.pseudonym
        digits = re.sub(rb"[-: ]", b"", found)
        new = self._octets[bytes.fromhex(digits.decode())]
        separator = found[2:3].decode() if len(digits) != len(found) else ""
        written = separator.join(f"{octet:02x}" for octet in new)
        return (written if digits == digits.lower() else written.upper()).encode()

    def remains(self, octets: bytes) -> bool:
        """Whether any of the originals is still there, in any form."""
        binary, text = self._compiled()
        if binary.search(octets) or text.search(octets):
            return True
        return self.text(octets) != octets


def _plain(name: bytes) -> bytes:
    """As UTF-8, where it is written with the escapes of a JSON string."""
    try:
        return str(json.loads(b'"' + name + b'"')).encode()
    except ValueError:
        return name


def sixteen_digits(values: Iterable[object]) -> Iterable[int]:
    """Of values those that are an EUI-64 in hexadecimal."""
    for value in values:
        if isinstance(value, str) and re.fullmatch("[0-9A-Fa-f]{16}", value):
            yield int(value, 16)
