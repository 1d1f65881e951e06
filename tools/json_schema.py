"""JSON Schemas of Protobuf messages, as the edge's transcoder reads and prints them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

Schema = dict[str, Any]

UINT32 = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
INT32 = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
UINT64 = {"type": "string", "pattern": "^[0-9]{1,20}$"}
INT64 = {"type": "string", "pattern": "^-?[0-9]{1,19}$"}
SCALARS: Mapping[int, Schema] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number"},
    FieldDescriptor.TYPE_INT32: INT32,
    FieldDescriptor.TYPE_INT64: INT64,
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_UINT32: UINT32,
    FieldDescriptor.TYPE_UINT64: UINT64,
}
WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?s$"},
}


def component(descriptor: Descriptor | EnumDescriptor) -> str:
    """The name of a message's or enum's schema: unique, because no two packages of ours share a name."""
    return str(descriptor.full_name).removeprefix(f"{descriptor.file.package}.").replace(".", "_")


def enum_names(enum: EnumDescriptor) -> list[str]:
    """The values as JSON has them."""
    return [value.name for value in enum.values]


def rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """The protovalidate rules of a field."""
    found: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.field]
    return found


def _text_rules(rule: Any) -> Schema:
    schema: Schema = {}
    for name, keyword in (("min_len", "minLength"), ("max_len", "maxLength"), ("pattern", "pattern")):
        if rule.HasField(name):
            schema[keyword] = getattr(rule, name)
    if rule.uuid:
        schema["format"] = "uuid"
    return schema


def _number_rules(rule: Any) -> Schema:
    names = (("gte", "minimum"), ("lte", "maximum"), ("gt", "exclusiveMinimum"), ("lt", "exclusiveMaximum"))
    return {keyword: getattr(rule, name) for name, keyword in names if rule.HasField(name)}


def _bytes_rules(rule: Any) -> Schema:
    """Length in bytes as the length of its base64 with padding."""
    length = 4 * math.ceil(rule.len / 3)
    return {"minLength": length, "maxLength": length} if rule.HasField("len") else {}


def constraints(field: FieldDescriptor) -> Schema:
    """Keywords that follow from a field's rules."""
    rule = rules(field)
    match rule.WhichOneof("type"):
        case "string":
            return _text_rules(rule.string)
        case "bytes":
            return _bytes_rules(rule.bytes)
        case "uint32" | "int32" as kind:
            return _number_rules(getattr(rule, kind))
        case "map":
            return {"maxProperties": rule.map.max_pairs} if rule.map.HasField("max_pairs") else {}
        case "repeated":
            return {"maxItems": rule.repeated.max_items} if rule.repeated.HasField("max_items") else {}
    return {}


def mandatory(field: FieldDescriptor) -> bool:
    """True when the rules refuse the value that a field has when it is left out."""
    rule = rules(field)
    kind = rule.WhichOneof("type")
    limits = getattr(rule, kind) if kind else None
    if limits is None or rule.required:
        return bool(rule.required)
    if kind in ("uint32", "uint64"):
        return bool(limits.gte > 0)
    return bool(getattr(limits, "uuid", False) or getattr(limits, "min_len", 0) or getattr(limits, "len", 0))


class Schemas:
    """Collects the schemas of messages and enums that are asked for, and of everything within them."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self.components: dict[str, Schema] = {}
        self._comments = comments

    def reference(self, message: Descriptor, *, request: bool, bound: Iterable[str] = ()) -> Schema:
        """A reference to the schema of `message` without the fields `bound` by the path."""
        name = component(message)
        if name not in self.components:
            schema = self.components[name] = {}
            schema.update(self._object(message, request=request, bound=frozenset(bound)))
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, field: FieldDescriptor, *, request: bool) -> Schema:
        """The schema of a field's value, with its comment and its rules."""
        text = {"description": comment} if (comment := self._comments.get(field.full_name)) else {}
        if field.message_type and field.message_type.GetOptions().map_entry:
            values = self._value(field.message_type.fields_by_name["value"], request=request)
            schema = {"type": "object", "additionalProperties": values}
        elif field.is_repeated:
            schema = {"type": "array", "items": self._value(field, request=request)}
        else:
            schema = self._value(field, request=request)
        return schema | (constraints(field) if request else {}) | text

    def _value(self, field: FieldDescriptor, *, request: bool) -> Schema:
        if enum := field.enum_type:
            listed = {"type": "string", "enum": enum_names(enum), "description": self._comments[enum.full_name]}
            self.components[component(enum)] = listed
            return {"$ref": f"#/components/schemas/{component(enum)}"}
        if message := field.message_type:
            known = WELL_KNOWN.get(message.full_name)
            return dict(known) if known else self.reference(message, request=request)
        return dict(SCALARS[field.type])

    def _object(self, message: Descriptor, *, request: bool, bound: frozenset[str]) -> Schema:
        """Requests refuse unknown fields and need what the rules need; answers print every field that is no message."""
        fields = [field for field in message.fields if field.name not in bound]
        required = [f.json_name for f in fields if (mandatory(f) if request else self._always_printed(f))]
        schema: Schema = {"type": "object"}
        if comment := self._comments.get(message.full_name):
            schema["description"] = comment
        schema["properties"] = {field.json_name: self.field(field, request=request) for field in fields}
        return (
            schema | ({"required": required} if required else {}) | ({"additionalProperties": False} if request else {})
        )

    @staticmethod
    def _always_printed(field: FieldDescriptor) -> bool:
        if field.full_name.startswith("google.rpc."):
            return False
        return field.is_repeated or (field.message_type is None and field.containing_oneof is None)
