"""Protobuf ↔ dataclass, of accounts and keys."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from voketag.factory.v1 import account_pb2

from factory.accounts import Factory, Wanted
from factory.api_keys import ApiKey
from factory.convert import timestamp
from factory.quotas import Quota

OVERLAP = timedelta(hours=24)
"""How long a key goes on beside its successor when nothing is said."""


def factory_message(factory: Factory) -> account_pb2.Factory:
    """An account."""
    return account_pb2.Factory(
        factory_id=str(factory.factory_id),
        name=factory.name,
        state=account_pb2.FactoryState.Value(f"FACTORY_STATE_{factory.state.upper()}"),
        priority=factory.priority,
        markets=factory.markets,
        create_time=timestamp(factory.created_at),
        update_time=timestamp(factory.updated_at),
    )


def wanted(request: account_pb2.ListFactoriesRequest) -> Wanted:
    """Which factories to list."""
    state = account_pb2.FactoryState.Name(request.state).removeprefix("FACTORY_STATE_").lower()
    return Wanted(state if request.state else None, request.name)


def changes(request: account_pb2.UpdateFactoryRequest) -> dict[str, Any]:
    """What the mask names."""
    values = {"name": request.name, "priority": request.priority, "markets": tuple(sorted(request.markets))}
    return {path: values[path] for path in request.update_mask.paths}


def api_key_message(key: ApiKey) -> account_pb2.ApiKey:
    """A key without its secret."""
    message = account_pb2.ApiKey(
        key_id=str(key.key_id),
        factory_id=str(key.factory_id),
        prefix=key.prefix,
        create_time=timestamp(key.created_at),
        successor_id=str(key.successor_id or ""),
    )
    if key.revoked_at is not None:
        message.revoke_time.CopyFrom(timestamp(key.revoked_at))
    if key.expires_at is not None:
        message.expire_time.CopyFrom(timestamp(key.expires_at))
    return message


def overlap(request: account_pb2.RotateApiKeyRequest) -> timedelta:
    """How long the old key goes on."""
    return request.overlap.ToTimedelta() if request.HasField("overlap") else OVERLAP


def quota_message(quota: Quota) -> account_pb2.Quota:
    """What a factory may do."""
    return account_pb2.Quota(products_a_day=quota.products_a_day, concurrent_imports=quota.concurrent_imports)


def risk_weights(message: account_pb2.RiskWeights) -> dict[str, int | bool]:
    """Weights by their names, all of them."""
    return {field.name: getattr(message, field.name) for field in message.DESCRIPTOR.fields}


def risk_weights_message(weights: Mapping[str, int | bool]) -> account_pb2.RiskWeights:
    """The reverse."""
    message = account_pb2.RiskWeights()
    for name, weight in weights.items():
        setattr(message, name, weight)
    return message
