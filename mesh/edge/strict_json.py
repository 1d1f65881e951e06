"""The filter that refuses unknown fields in JSON bodies, for which the transcoder has no option."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mesh.contract import Method

Kinds: TypeAlias = dict[str, dict[str, str | bool]]


def _kind(field: FieldDescriptor) -> str | bool:
    """The message that a JSON object in this field has to fit, True where any may stand, False where none may."""
    message = field.message_type
    if message is None:
        return False
    return True if message.file.package.startswith("google.") else str(message.full_name)


def collect(message: Descriptor, found: Kinds) -> None:
    """Adds `message` and every message within it to `found`: field names in both spellings, `*` for a map's keys."""
    if message.full_name in found:
        return
    kinds = found[message.full_name] = {}
    if message.GetOptions().map_entry:
        kinds["*"] = _kind(message.fields_by_name["value"])
    else:
        for field in message.fields:
            kinds[field.name] = kinds[field.json_name] = _kind(field)
    for field in message.fields:
        if field.message_type and isinstance(_kind(field), str):
            collect(field.message_type, found)


def path_pattern(path: str) -> str:
    """The Lua pattern of a google.api.http path whose variables are single segments."""
    literal = re.sub(r"[-.+*?^$%()\[\]]", r"%\g<0>", path)
    return "^" + re.sub(r"\{[^}]*\}", "[^/]+", literal) + "$"


def section(path: str) -> str:
    """The first two segments of a path up to its verb, which are literal: a few patterns are tried and not all."""
    found = re.match(r"/[^/:{}]+/[^/:{}]+(?=[/:]|$)", path)
    if found is None:
        raise ValueError(f"{path}: the first two segments of a path with a body have to be literal")
    return found[0]


def lua_table(value: Mapping[str, Mapping[str, str | bool]] | Mapping[str, str | bool] | str | bool) -> str:
    """A Lua literal; keys and strings are ASCII names."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{json.dumps(key)}] = {lua_table(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def tables(methods: Iterable[Method]) -> tuple[str, str]:
    """Lua literals: message → field → kind, and section → pattern of the path → message of the body."""
    kinds: Kinds = {}
    bodies: dict[str, dict[str, str | bool]] = {}
    for method in methods:
        if method.verb in ("post", "put", "patch"):
            collect(method.descriptor.input_type, kinds)
            patterns = bodies.setdefault(section(method.path), {})
            patterns[path_pattern(method.path)] = str(method.descriptor.input_type.full_name)
    return lua_table(kinds), lua_table(bodies)
