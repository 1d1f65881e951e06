"""What a batch, an order and a product are."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from uuid import UUID

LIMIT = 1_000_000
"""Products in a batch at most."""


class BatchState(StrEnum):
    """Where a batch is on its way; the legal changes are rows of batch_transitions."""

    RECEIVING = "RECEIVING"
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    ANCHORING = "ANCHORING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ends_watching(self) -> bool:
        """True when nothing more happens by itself."""
        return self in {BatchState.COMPLETED, BatchState.FAILED, BatchState.CANCELLED}


@dataclass(frozen=True, slots=True)
class BatchAnchor:
    """Where the anchored root stands: EIP-155 chain id, contract, transaction hash, block."""

    chain_id: int
    contract: str
    transaction: str
    block_number: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A row of batches. `template` is canonical JSON; `writer` fences off earlier writers."""

    factory_id: UUID
    batch_id: UUID
    name: str
    state: BatchState
    template: bytes
    kid: int
    product_count: int
    issued_count: int
    refused_count: int
    next_row: int
    writer: int
    root: bytes | None
    anchor: BatchAnchor | None
    failure: str
    created_at: datetime
    updated_at: datetime

    @property
    def key(self) -> bytes:
        """The batch as the payload of a job: factory and batch id."""
        return self.factory_id.bytes + self.batch_id.bytes


@dataclass(frozen=True, slots=True)
class Order:
    """What a new batch is to be; `product_count` is 0 for an import."""

    name: str
    template: Mapping[str, str]
    product_count: int = 0
    return_products: bool = False


class ProductState(IntEnum):
    """Where a product is in its life, as products.state has it; the legal steps are rows of product_transitions."""

    CREATED = 0
    ACTIVATED = 1
    SHIPPED = 2
    SOLD = 3
    CONSUMED = 4
    RECALLED = 5
    STOLEN = 6
    EXPIRED = 7
    DESTROYED = 8


@dataclass(frozen=True, slots=True)
class Product:
    """A product with its token; `attributes` is canonical JSON."""

    product_id: UUID
    batch_id: UUID
    index: int
    token: str
    attributes: bytes
    state: ProductState = ProductState.CREATED
