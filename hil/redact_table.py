"""Who is who in an evidence folder, and who they are called instead.

Source: ours. An EUI-64 is found by whoever tells it and replaced wherever its octets are: in both
octet orders, as octets, as hexadecimal digits in either case with and without separators, and in
base64. Its pseudonym is a locally administered EUI-64 that counts, so two files of one folder still
agree, and nobody can compute back. Octets that could confirm a guess, as signatures, MACs and keys
can, become zeros.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

_PREFIX = bytes.fromhex("025245444143")  # locally administered, then REDAC
_SEPARATORS = ("", "-", ":", " ")
_MIN_BLANK = 8
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{22,}={0,2}")
_URL = re.compile(rb"(?<![A-Za-z0-9+.-])([a-z][a-z0-9+.-]*)://([^\s\"'<>\\,;)]+)")
_DEVICE_PATH = re.compile(rb"/dev/[A-Za-z0-9_./:@+-]+")
_PUBLIC_HOSTS = (b"www.w3.org", b"www.dccinterface.co.uk", b"json-schema.org")
_HEX_FORM = re.compile(rb"(?:[0-9A-Fa-f]{2}[-:]){7}[0-9A-Fa-f]{2}")
_DIGITS = re.compile(rb"(?<![0-9A-Za-z])(?=[0-9]*[A-Fa-f])[0-9A-Fa-f]{16}(?![0-9A-Za-z])")


class Table:
    """What is replaced by what. Everything is learnt before anything is replaced."""

    def __init__(self) -> None:
        self._octets: dict[bytes, bytes] = {}
        self._words: dict[bytes, bytes] = {}
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

    def word(self, word: bytes, kind: str) -> None:
        """A host name, a path, a URL."""
        if word and word not in self._words:
            self._count += 1
            self._words[word] = f"{kind}-{self._count}".encode()

    def learn(self, text: bytes) -> None:
        """Whatever a text names that looks like one of those."""
        for match in _HEX_FORM.finditer(text):
            self.eui64(int(re.sub(rb"[-:]", b"", match[0]), 16))
        for match in _DIGITS.finditer(text):
            self.eui64(int(match[0], 16))
        for match in _URL.finditer(text):
            host = re.split(rb"[/:?#]", match[2].rpartition(b"@")[2], maxsplit=1)[0]
            if host in _PUBLIC_HOSTS or not host:
                continue
            self.word(match[0], "url")
            if not re.fullmatch(rb"[0-9]{1,3}", host) and len(host) > 3:
                self.word(host, "host")
        for match in _DEVICE_PATH.finditer(text):
            self.word(match[0], "device-path")

    def _compiled(self) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
        if self._patterns is None:
            octets = sorted(self._octets, key=len, reverse=True)
            forms = [
                re.escape(separator.join(f"{octet:02x}" for octet in each)).encode()
                for each in octets
                for separator in (_SEPARATORS if len(each) == 8 else ("",))
            ]
            words = [re.escape(word) for word in sorted(self._words, key=len, reverse=True)]
            nothing = rb"(?!)"
            binary = b"|".join(map(re.escape, octets)) or nothing
            # words are as they are written, digits in either case
            text = b"|".join([*words, *(b"(?i:" + form + b")" for form in forms)]) or nothing
            self._patterns = re.compile(binary, re.DOTALL), re.compile(text)
        return self._patterns

    def binary(self, octets: bytes) -> bytes:
        return self._compiled()[0].sub(lambda match: self._octets[match[0]], octets)

    def text(self, text: bytes) -> bytes:
        """As text, with what is base64 in it opened."""
        return _BASE64.sub(self._encoded, self._compiled()[1].sub(self._written, text))

    def _written(self, match: re.Match[bytes]) -> bytes:
        found = match[0]
        if found in self._words:
            return self._words[found]
        digits = re.sub(rb"[-: ]", b"", found)
        new = self._octets[bytes.fromhex(digits.decode())]
        separator = found[2:3].decode() if len(digits) != len(found) else ""
        written = separator.join(f"{octet:02x}" for octet in new)
        return (written if digits == digits.lower() else written.upper()).encode()

    def _encoded(self, match: re.Match[bytes]) -> bytes:
        whole = match[0]
        if len(whole) % 4:
            return whole
        try:
            octets = base64.b64decode(whole, validate=True)
        except binascii.Error:
            return whole
        new = self.binary(octets)
        return whole if new == octets else base64.b64encode(new)

    def remains(self, octets: bytes) -> bool:
        """Whether any of the originals is still there, in any form."""
        binary, text = self._compiled()
        if binary.search(octets) or text.search(octets):
            return True
        return self.text(octets) != octets


def sixteen_digits(values: Iterable[object]) -> Iterable[int]:
    """Of values those that are an EUI-64 in hexadecimal."""
    for value in values:
        if isinstance(value, str) and re.fullmatch("[0-9A-Fa-f]{16}", value):
            yield int(value, 16)
