"""A TOML file read into a pydantic model, and what is wrong with it in one sentence.

Source: DESIGN, "What it promises to the outside" (`BENCH.toml`: unknown keys refused with the key
and its line). A sentence names the file, the line, the key as a dotted path (elements of arrays
from 0), and what would be right, which is the description of the model's field.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Strict, ValidationError
from pydantic.fields import FieldInfo

from hil.errors import RequestError
from hil.toml_lines import KeyPath, key_lines

MAX_FILE_BYTES = 1024 * 1024
_MAX_SHOWN = 60

_Model = TypeVar("_Model", bound=BaseModel)
Problem = tuple[KeyPath, str]

Whole = Annotated[int, Strict()]
Text = Annotated[str, Strict()]
Number = Annotated[float, Strict()]


class Table(BaseModel):
    """One table of the file; a field's description says what would be right."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BenchFileError(RequestError):
    """The bench file is wrong; `key` is its dotted path, `line` counts from 1, where known."""

    def __init__(self, sentence: str, *, key: str = "", line: int | None = None) -> None:
        super().__init__(sentence)
        self.key = key
        self.line = line


class Located(NamedTuple):
    """Something to say about a file, with its place: a dotted key and a line, where known."""

    key: str
    line: int | None
    sentence: str


def load_toml(
    path: Path, model: type[_Model], contradictions: Callable[[_Model], Iterable[Problem]]
) -> _Model:
    """Read, parse and validate; `contradictions` is asked for what no single value shows."""
    loaded, located = inspect_toml(path, model, contradictions)
    if loaded is not None and not located:
        return loaded
    key, line, sentence = located[0]
    place = f"{path}, line {line}" if line else str(path)
    more = f" (and {len(located) - 1} more)" if len(located) > 1 else ""
    raise BenchFileError(f"{place}: {sentence}{more}", key=key, line=line)


def inspect_toml(
    path: Path, model: type[_Model], contradictions: Callable[[_Model], Iterable[Problem]]
) -> tuple[_Model | None, list[Located]]:
    """What the file says, as far as it can be told, and all that is wrong with it, by line.

    A contradiction leaves a model; a value that is none of its key's does not. Raises
    BenchFileError for what is no TOML file.
    """
    text = _read(path)
    try:
        data = tomllib.loads(text)
        lines = key_lines(text)
    except RecursionError:
        raise BenchFileError(f"{path} cannot be read: its values are nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from None
    except ValueError:  # int() refuses more than 4 300 digits, and tomllib lets that through
        raise BenchFileError(f"{path} cannot be read: a number has too many digits") from None
    loaded: _Model | None = None
    try:
        loaded = model.model_validate(data, context={"folder": path.parent})
        problems = list(contradictions(loaded))
    except ValidationError as error:
        problems = [_problem(model, found) for found in _innermost(error)]
    located = [Located(dotted(key), _line(lines, key), sentence) for key, sentence in problems]
    return loaded, sorted(located, key=lambda one: one.line or inf)


def dotted(path: KeyPath) -> str:
    """`device[1].radio`; keys that TOML would quote are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
            text += ("." if text else "") + (part if bare else _shortened(json.dumps(part)))
    return text


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BenchFileError(f"{path} cannot be read: {reason}") from None
    if len(octets) > MAX_FILE_BYTES:
        raise BenchFileError(f"{path} cannot be read: it has more than {MAX_FILE_BYTES} bytes")
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise BenchFileError(f"{path}, line {line} is not UTF-8 text", line=line) from None


def _syntax_error(path: Path, text: str, said: str) -> BenchFileError:
    """tomllib ends its sentence in the place; Python 3.14 would give it as attributes."""
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)", said)
    line = int(found[1]) if found and found[1] else text.rstrip().count("\n") + 1
    said = said[: found.start()] if found else said
    said = said[:1].lower() + said[1:]
    return BenchFileError(f"{path}, line {line} is not TOML: {said}", line=line)


def _line(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """The line of a key; of what is missing or too deep, that of the table it belongs to."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


def _innermost(error: ValidationError) -> list[Any]:
    """pydantic's errors without those that only follow from another further in."""
    errors = error.errors(include_url=False)
    outer = {other["loc"][:depth] for other in errors for depth in range(len(other["loc"]))}
    return [found for found in errors if found["loc"] not in outer]


def _problem(model: type[BaseModel], found: Any) -> Problem:
    """Where and what, from one of pydantic's errors."""
    path: KeyPath = found["loc"]
    name = dotted(path)
    if found["type"] == "extra_forbidden":
        keys = list(_fields(model, path[:-1]))
        near = get_close_matches(str(path[-1]), keys, 1)
        hint = f"perhaps {near[0]} is meant" if near else f"there are {', '.join(keys)}"
        return path, f"{name} is not a key here: {hint}"
    container = path
    while container and isinstance(container[-1], int):
        container = container[:-1]
    right = _fields(model, container[:-1])[str(container[-1])].description
    if found["type"] == "missing":
        return path, f"{name} is missing: it must be {right}"
    error = found.get("ctx", {}).get("error")
    if error is not None and type(error) is not ValueError:  # a family of ours, in its own words
        return path, f"{name}: {error}"
    subject = "it" if container == path else dotted(container)
    return path, f"{name} is {_shown(found['input'])}, but {subject} must be {right}"


def _fields(model: type[BaseModel], path: KeyPath) -> dict[str, FieldInfo]:
    """The keys of the table at `path`, as the file spells them."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for part in path:
        if isinstance(part, str):
            table = _table_of(fields[part].annotation)
            fields = {field.alias or name: field for name, field in table.model_fields.items()}
    return fields


def _table_of(annotation: Any) -> type[BaseModel]:
    """The model in an annotation such as `Hub` or `tuple[Device, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return _table_of(get_args(annotation)[0])


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return _shortened(repr(value) if isinstance(value, str | list | dict) else str(value))
    except ValueError:  # Python does not write out integers of more than 4 300 digits
        return "a number beyond all bounds"


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
