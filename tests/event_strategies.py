"""Any event the schema of events.jsonl takes, with texts that would play with a terminal."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from hypothesis import strategies as st

SCHEMA = json.loads(resources.files("hil").joinpath("schemas/events.schema.json").read_text())
HOSTILE = st.one_of(
    st.sampled_from(
        ["hub", "twin", "\x1b[2J", "[bold red]x[/]", "\u202eabc", "家\u0301", "a\nb\r\t"]
    ),
    st.text(max_size=12),
)


def strategy(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema of events takes; where it asks for a pattern, hostile ones as well."""
    if "$ref" in schema:
        return strategy(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "oneOf" in schema:
        return st.one_of(*map(strategy, schema["oneOf"]))
    low, high = schema.get("minimum"), schema.get("maximum")
    match schema["type"]:
        case "null":
            return st.none()
        case "integer":
            return st.integers(low, high)
        case "number":
            return st.floats(low, high, allow_nan=False, allow_infinity=False)
        case "array":
            return st.lists(strategy(schema["items"]), max_size=4)
        case "object":
            properties = schema.get("properties", {})
            required = {name: strategy(properties[name]) for name in schema.get("required", ())}
            optional = {n: strategy(s) for n, s in properties.items() if n not in required}
            return st.fixed_dictionaries(required, optional=optional)
        case _:
            return HOSTILE


TYPES = SCHEMA["properties"]["type"]["enum"]
EVENTS = st.sampled_from(TYPES).flatmap(lambda name: strategy(SCHEMA["$defs"][name]))
