"""Comments of the proto files, by the full name of what they stand above."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent
# Field numbers in descriptor.proto, as SourceCodeInfo.Location.path counts them.
FILE_MESSAGE, FILE_ENUM, FILE_SERVICE = 4, 5, 6
MESSAGE_FIELD, MESSAGE_NESTED, MESSAGE_ENUM = 2, 3, 4
ENUM_VALUE, SERVICE_METHOD = 2, 2

Place = tuple[int, ...]


def _numbered(path: Place, number: int, name: str, items: Any) -> Iterator[tuple[Place, str, Any]]:
    for index, item in enumerate(items):
        yield (*path, number, index), f"{name}.{item.name}", item


def _enum(path: Place, name: str, enum: Any) -> Iterator[tuple[Place, str]]:
    yield path, name
    for at, full, _ in _numbered(path, ENUM_VALUE, name, enum.value):
        yield at, full


def _message(path: Place, name: str, message: Any) -> Iterator[tuple[Place, str]]:
    yield path, name
    for at, full, _ in _numbered(path, MESSAGE_FIELD, name, message.field):
        yield at, full
    for at, full, nested in _numbered(path, MESSAGE_NESTED, name, message.nested_type):
        yield from _message(at, full, nested)
    for at, full, enum in _numbered(path, MESSAGE_ENUM, name, message.enum_type):
        yield from _enum(at, full, enum)


def _names(file: FileDescriptorProto) -> Iterator[tuple[Place, str]]:
    for at, full, message in _numbered((), FILE_MESSAGE, file.package, file.message_type):
        yield from _message(at, full, message)
    for at, full, enum in _numbered((), FILE_ENUM, file.package, file.enum_type):
        yield from _enum(at, full, enum)
    for at, full, service in _numbered((), FILE_SERVICE, file.package, file.service):
        yield at, full
        for method_at, method, _ in _numbered(at, SERVICE_METHOD, full, service.method):
            yield method_at, method


def _clean(comment: str) -> str:
    lines = (line.strip() for line in comment.splitlines())
    return "\n".join(line for line in lines if not line.startswith("buf:lint:")).strip()


def _built() -> FileDescriptorSet:
    """The descriptor set of the workspace, with source information."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "comments.binpb")
        buf = Path(sys.executable).parent / "buf"
        subprocess.run([buf, "build", ".", "--as-file-descriptor-set", "-o", out], cwd=ROOT, check=True)
        return FileDescriptorSet.FromString(out.read_bytes())


def comments() -> Mapping[str, str]:
    """Comments of our own files by full name, with their line breaks; lint directives left out."""
    found: dict[str, str] = {}
    for file in _built().file:
        if not file.package.startswith("voketag."):
            continue
        names = dict(_names(file))
        for location in file.source_code_info.location:
            if (path := tuple(location.path)) in names and location.leading_comments:
                found[names[path]] = _clean(location.leading_comments)
    return found
