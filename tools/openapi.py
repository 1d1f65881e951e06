"""Writes docs/openapi.yaml, the OpenAPI 3.1 document of the JSON edge, out of the descriptors and their comments.

`--check` fails when the file differs from what it would write.
"""

import re
import sys
import tomllib
from collections.abc import Mapping
from typing import Any

import yaml
from google.api import httpbody_pb2
from google.rpc import code_pb2, error_details_pb2
from voketag.mesh.v1 import reason_pb2

from mesh.contract import Method, methods
from mesh.policy import FACTORY, SERVICE, USER
from tools.comments import ROOT, comments
from tools.json_schema import Schema, Schemas, enum_names

TARGET = ROOT / "docs" / "openapi.yaml"
PUBLIC_SERVERS = [{"url": "https://app.voketag.com", "description": "The edge"}]
INTERNAL_SERVERS = [{"url": "http://edge-internal:8081", "description": "Inside the cluster, for operators alone"}]
ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
DETAILS = ("ErrorInfo", "BadRequest", "RetryInfo", "ResourceInfo")
# How the transcoder turns gRPC codes into HTTP statuses.
STATUSES: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
EVERYWHERE = (
    *("VALIDATION_FAILED", "RATE_LIMITED", "DEPENDENCY_UNAVAILABLE", "SHUTTING_DOWN"),
    *("DEADLINE_EXCEEDED", "INTERNAL"),
)
WITH_CREDENTIALS = ("CREDENTIALS_MISSING", "CREDENTIALS_INVALID", "ACCESS_DENIED")
REFUSED = "REQUEST_REFUSED"


class Document:
    """The document while it is being made."""

    def __init__(self) -> None:
        self._comments = comments()
        self._schemas = Schemas(self._comments)

    def build(self) -> dict[str, Any]:
        """The whole document."""
        paths: dict[str, dict[str, Any]] = {}
        found = [method for method in methods() if method.path]
        for method in found:
            # OpenAPI has no parameters of several segments.
            paths.setdefault(method.path.replace("=**}", "}"), {})[method.verb] = self._operation(method)
        self._schemas.components["Error"] = self._error()
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "VokeTag",
                "version": version,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
                "description": "The unary methods as JSON. Streams are for gRPC and gRPC-Web alone.",
            },
            "servers": PUBLIC_SERVERS,
            "tags": [
                self._tag(service)
                for service in sorted({str(m.descriptor.containing_service.full_name) for m in found})
            ],
            "paths": dict(sorted(paths.items())),
            "components": {
                "responses": {"Error": {"description": "Why it failed", "content": ERROR_CONTENT}},
                "schemas": dict(sorted(self._schemas.components.items())),
                "securitySchemes": {
                    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                    "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                    "serviceToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                },
            },
        }

    def _tag(self, service: str) -> Schema:
        return {"name": service.rsplit(".", 1)[1], "description": self._comments[service]}

    def _operation(self, method: Method) -> Schema:
        text = self._comments[method.name]
        service = method.service.rsplit(".", 1)[1]
        operation: Schema = {
            "operationId": f"{service}.{method.descriptor.name}",
            "tags": [service],
            "summary": re.split(r"(?<=\.)\s", text, maxsplit=1)[0].replace("\n", " "),
            "description": text,
            "security": self._security(method),
        }
        if not method.external:
            operation["servers"] = INTERNAL_SERVERS
        operation |= self._request(method)
        operation["responses"] = {"200": self._answer(method)} | self._failures(method)
        return operation

    def _security(self, method: Method) -> list[dict[str, list[str]]]:
        """An empty list: no credentials; several: one of them."""
        if method.policy.public:
            return []
        schemes: dict[int, str] = {FACTORY: "apiKey", SERVICE: "serviceToken", USER: "accessToken"}
        return [{schemes[audience]: []} for audience in sorted(method.policy.audiences)]

    def _request(self, method: Method) -> Schema:
        message = method.descriptor.input_type
        bound = re.findall(r"{(\w+)", method.path)
        fields = [field for field in message.fields if field.name in bound or method.verb == "get"]
        schema: Schema = {}
        if fields:
            schema["parameters"] = [
                {
                    "name": field.name if field.name in bound else field.json_name,
                    "in": "path" if field.name in bound else "query",
                    "required": field.name in bound,
                    "schema": self._schemas.field(field, request=True),
                }
                for field in fields
            ]
        if method.verb != "get":
            body = self._schemas.reference(message, request=True, bound=bound)
            schema["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        return schema

    def _answer(self, method: Method) -> Schema:
        message = method.descriptor.output_type
        if message.full_name == httpbody_pb2.HttpBody.DESCRIPTOR.full_name:
            named = re.search(r"`(\w+/[\w.+-]+)`", self._comments[method.name])
            assert named, f"{method.name} answers a body of its own; its comment must name the media type"
            return {"description": "The document", "content": {named[1]: {}}}
        content = {"application/json": {"schema": self._schemas.reference(message, request=False)}}
        return {"description": self._comments[message.full_name], "content": content}

    def _codes(self, reason: str) -> list[str]:
        """The gRPC codes of a reason: the capitals that its comment ends with."""
        last = re.split(r"[.:] ", self._comments[f"voketag.mesh.v1.Reason.REASON_{reason}"].replace("\n", " "))[-1]
        codes = [code for code in re.findall(r"[A-Z_]+", last) if code in STATUSES]
        assert codes, f"the comment of {reason} must end with its gRPC code"
        return codes

    def _failures(self, method: Method) -> Schema:
        """Responses by status, each with its reasons: those the comment lists, and those that any call can meet."""
        stated = re.search(r"Errors: ([A-Z_,\s]+)", self._comments[method.name])
        reasons = {*EVERYWHERE, *(re.findall(r"[A-Z_]+", stated[1]) if stated else ())}
        if not method.policy.public:
            reasons |= {*WITH_CREDENTIALS}
        by_status: dict[int, set[str]] = {400: {REFUSED}}
        for reason in reasons:
            for code in self._codes(reason):
                by_status.setdefault(STATUSES[code], set()).add(reason)
        if method.verb in ("post", "put", "patch"):
            by_status |= {413: {REFUSED}, 415: {REFUSED}}
        return {
            str(status): {"$ref": "#/components/responses/Error", "description": ", ".join(sorted(names))}
            for status, names in sorted(by_status.items())
        }

    def _error(self) -> Schema:
        """google.rpc.Status with exactly one ErrorInfo."""
        for name in DETAILS:
            message = getattr(error_details_pb2, name).DESCRIPTOR
            self._schemas.reference(message, request=False)
            detail = self._schemas.components[name]
            kind = {"const": f"type.googleapis.com/{message.full_name}"}
            detail["properties"] = {"@type": kind} | detail["properties"]
            detail["required"] = ["@type"]
        reasons = [name.removeprefix("REASON_") for name in enum_names(reason_pb2.Reason.DESCRIPTOR)[1:]]
        info = self._schemas.components["ErrorInfo"]
        info["properties"] |= {"reason": {"type": "string", "enum": reasons}, "domain": {"const": "voketag.com"}}
        info["required"] += ["reason", "domain"]
        return {
            "type": "object",
            "description": "google.rpc.Status with exactly one ErrorInfo; docs/errors.md says what to do for each.",
            "properties": {
                "code": {"type": "integer", "enum": sorted(getattr(code_pb2, name) for name in (*STATUSES, "UNKNOWN"))},
                "message": {"type": "string", "description": "For people; it may change."},
                "details": {
                    "type": "array",
                    "items": {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in DETAILS]},
                    "contains": {"$ref": "#/components/schemas/ErrorInfo"},
                    "minContains": 1,
                    "maxContains": 1,
                },
            },
            "required": ["code", "message", "details"],
        }


class _Plain(yaml.SafeDumper):
    """Writes shared parts out in full, and texts of several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)


def render() -> str:
    """The document as YAML."""
    return yaml.dump(Document().build(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


def main() -> int:
    """Entry point."""
    text = render()
    if "--check" not in sys.argv:
        TARGET.write_text(text)
    elif not TARGET.exists() or TARGET.read_text() != text:
        print(f"{TARGET.relative_to(ROOT)} is not what proto/ gives: run `make gen`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
