"""How scans of a factory's products are weighed, where that differs from what everybody has."""

from collections.abc import Mapping
from typing import TypeAlias
from uuid import UUID

import orjson

from factory.store import Store
from mesh import audit, idempotency
from mesh.clock import IdSource
from mesh.errors import FactoryNotFound
from mesh.idempotency import RequestKey

Weights: TypeAlias = tuple[str, Mapping[str, int | bool]]
"""A version and what it stands for."""


class RiskWeights:
    """The weights of factories. What they mean is scan's business; their rules are in the contract."""

    def __init__(self, store: Store, *, new_id: IdSource) -> None:
        self._store = store
        self._new_id = new_id

    async def set(
        self, request: RequestKey, factory_id: UUID, weights: Mapping[str, int | bool] | None
    ) -> Weights | None:
        """The weights that count from now on and their version; None for those that everybody has.

        The version is new with every change, so that it says for good what a scan was weighed by; the audit keeps what
        each stood for. Raises FactoryNotFound, RequestIdReused.
        """
        version = self._new_id()
        async with self._store.transaction(factory_id) as connection:
            row = await self._store.sql.lock_risk_weights(connection, factory_id=factory_id)
            if row is None:
                raise FactoryNotFound(factory_id=factory_id)
            first = await idempotency.claim(connection, request, version)
            if first is not None:
                return None if weights is None else (str(first), weights)
            kept = None if weights is None else {"version": str(version), **weights}
            await self._store.sql.set_risk_weights(
                connection, factory_id=factory_id, weights=None if kept is None else orjson.dumps(kept).decode()
            )
            before = row["risk_weights"] and orjson.loads(row["risk_weights"])
            resource, detail = f"factory/{factory_id}", {"risk_weights": audit.change(before, kept)}
            await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)
        return None if weights is None else (str(version), weights)

    async def get(self, factory_id: UUID) -> Weights | None:
        """The weights that count and their version; None for those that everybody has."""
        async with self._store.connection(factory_id) as connection:
            text = await self._store.sql.select_risk_weights(connection, factory_id=factory_id)
        if text is None:
            return None
        kept = orjson.loads(text)
        return kept.pop("version"), kept
