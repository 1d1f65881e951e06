"""Where a batch root stands on the chain, as the anchor service tells it; what is final is remembered."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from mesh.clock import Clock
from trust.receipt import ChainPart, StampPart, TreePart

PENDING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Proof:
    """The batch's place in an anchored tree, that tree's place on the chain once it is final, and what others have."""

    anchor: TreePart
    chain: ChainPart | None
    evidence: tuple[ChainPart | StampPart, ...] = ()


Ask = Callable[[UUID], Awaitable[Proof | None]]
"""Asks the anchor service about a batch; None before its window has closed. Raises DependencyUnavailable."""


class Proofs:
    """Proofs by batch, the least recently used forgotten first; one that is not final is asked for again soon."""

    def __init__(self, ask: Ask, clock: Clock, *, capacity: int = 10_000) -> None:
        self._ask = ask
        self._clock = clock
        self._capacity = capacity
        self._entries: OrderedDict[UUID, tuple[Proof | None, float]] = OrderedDict()

    async def find(self, batch_id: UUID) -> Proof | None:
        """The proof of a batch; None when there is none yet. Raises DependencyUnavailable."""
        proof, asked_at = self._entries.get(batch_id, (None, float("-inf")))
        final = proof is not None and proof.chain is not None
        if not final and self._clock.monotonic() - asked_at >= PENDING_SECONDS:
            proof = await self._ask(batch_id)
            self._entries[batch_id] = (proof, self._clock.monotonic())
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
        if batch_id in self._entries:
            self._entries.move_to_end(batch_id)
        return proof
