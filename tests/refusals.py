"""What a service's table `audit` says of refused calls."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

ROWS = """
SELECT actor_kind || ':' || actor_id AS actor, actor_role AS role, method, resource, request_id,
  address_prefix AS prefix, detail, result
FROM {schema}.audit WHERE result <> 'OK' AND actor_id = $1 ORDER BY position
"""
AT_ONCE = 10
"""Rows of one refusal at once; more come one a minute, which no test takes."""


@dataclass(frozen=True)
class Refusal:
    """A row. `method` is the last word of it."""

    actor: str
    role: str
    method: str
    resource: str
    request_id: UUID | None
    prefix: str
    result: str


async def refusals(connection: Any, schema: str, actor_id: str) -> list[Refusal]:
    """Those of one caller, oldest first. None says anything of what would have changed."""
    found = []
    for row in await connection.fetch(ROWS.format(schema=schema), actor_id):
        fields = dict(row)
        assert fields.pop("detail") == "{}"
        fields["method"] = fields["method"].rpartition("/")[2]
        found.append(Refusal(**fields))
    return found
