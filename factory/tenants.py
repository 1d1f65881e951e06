"""Whose rows a connection shows: the tenant of PostgreSQL's row security, the second wall behind scoped statements."""

from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import asyncpg

from mesh import database
from mesh.config import DatabaseSettings
from mesh.identity import Principal

EVERY: Final = "*"
"""The tenant of what really goes across factories: operators, keys before they are known, upkeep."""

Tenant: TypeAlias = UUID | Literal["*"]


class TenantConnection(asyncpg.Connection):
    """Shows nothing until it is told whose rows; then those, until it is told again."""

    _shown: Tenant | None = None

    async def show(self, tenant: Tenant, statements: Any) -> None:
        """Shows a factory's rows and no other's, by `show_tenant`; no round trip when it shows them already."""
        if self._shown != tenant:
            self._shown = None  # whatever breaks this off, the next one sets it anew
            await statements.show_tenant(self, tenant=str(tenant))
            self._shown = tenant


async def connect(settings: DatabaseSettings) -> "asyncpg.Pool[Any]":
    """A pool of such connections on the schema `factory`. Raises DependencyUnavailable."""
    return await database.connect(settings, schema="factory", connection_class=TenantConnection)


def reach(actor: Principal) -> Tenant:
    """Whose rows somebody may see who is no factory: those of their own factory, or of all if they have none."""
    return actor.factory_id or EVERY
