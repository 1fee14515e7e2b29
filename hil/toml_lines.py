"""Where in a TOML text each key stands; tomllib reads the values but keeps no lines.

Source: TOML 1.0.0. The text has been through tomllib, so its syntax is known to be right and only
as much of it is looked at as the lines need.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

KeyPath = tuple[str | int, ...]
"""`("device", 1, "radio")`: keys by name, elements of arrays by number from 0."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")
_STRINGS = (
    re.compile(r'"""(?:\\.|[^\\])*?"""(?:"{0,2})', re.DOTALL),
    re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL),
    re.compile(r'"(?:\\.|[^"\\])*"'),
    re.compile(r"'[^']*'"),
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, at which each key, table and array element first appears."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lines: dict[KeyPath, int] = {}
        self._elements: dict[KeyPath, int] = {}  # of arrays of tables: the number of the last one

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip_blank():
            start = self._at
            if self._took("[["):
                array = self._resolve(self._key())
                self._elements[array] = self._elements.get(array, -1) + 1
                table = (*array, self._elements[array])
                self._note(array, start)
                self._note(table, start)
                self._took("]]")
            elif self._took("["):
                table = self._resolve(self._key())
                self._note(table, start)
                self._took("]")
            else:
                self._key_and_value(table)
        return self._lines

    def _resolve(self, parts: list[str]) -> KeyPath:
        """A header's key; what names an array of tables on the way means its last element."""
        path: KeyPath = ()
        for number, part in enumerate(parts, start=1):
            path = (*path, part)
            if number < len(parts) and path in self._elements:
                path = (*path, self._elements[path])
        return path

    def _key_and_value(self, table: KeyPath) -> None:
        start = self._at
        path = table
        for part in self._key():
            path = (*path, part)
            self._note(path, start)
        self._took("=")
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip_blank()
        if self._took("["):
            index = 0
            while self._skip_blank() and not self._took("]"):
                self._note((*path, index), self._at)
                self._value((*path, index))
                index += 1
                self._skip_blank()
                self._took(",")
        elif self._took("{"):
            while self._skip_blank() and not self._took("}"):
                self._key_and_value(path)
                self._skip_blank()
                self._took(",")
        elif not self._string():
            self._match(_BARE_VALUE)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip_blank()
            if bare := self._match(_BARE_KEY):
                parts.append(bare)
            else:
                # tomllib decodes escapes; a key on its own is quoted the way a value is.
                parts.append(tomllib.loads(f"key = {self._string()}")["key"])
            self._skip_blank()
            if not self._took("."):
                return parts

    def _string(self) -> str:
        for pattern in _STRINGS:
            if found := self._match(pattern):
                return found
        return ""

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found.group()

    def _took(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _skip_blank(self) -> bool:
        self._match(_BLANK)
        return self._at < len(self._text)

    def _note(self, path: KeyPath, offset: int) -> None:
        self._lines.setdefault(path, bisect_right(self._line_starts, offset))
