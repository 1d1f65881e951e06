"""Proofs: final ones are kept, others asked for again."""

from uuid import UUID

import pytest

from mesh.errors import DependencyUnavailable
from scan.proof import PENDING_SECONDS, Proof, Proofs
from tests.fakes.clock import HandClock
from trust.receipt import ChainPart, TreePart

TREE = TreePart(0, 1, (), bytes(32))
MINED = Proof(TREE, None)
FINAL = Proof(TREE, ChainPart(1, "0x" + "0" * 40, "0x" + "0" * 64, 5))


class Anchor:
    def __init__(self) -> None:
        self.answer: Proof | None = None
        self.away = False
        self.asked = 0

    async def ask(self, batch_id: UUID) -> Proof | None:
        self.asked += 1
        if self.away:
            raise DependencyUnavailable(dependency="the anchor service")
        return self.answer


async def test_what_is_final_is_asked_for_once() -> None:
    anchor, clock = Anchor(), HandClock()
    proofs = Proofs(anchor.ask, clock)
    for answer in (None, MINED, FINAL):
        anchor.answer = answer
        clock.seconds += PENDING_SECONDS
        assert await proofs.find(UUID(int=1)) is answer
    anchor.answer = MINED
    clock.seconds += PENDING_SECONDS
    assert await proofs.find(UUID(int=1)) is FINAL
    assert anchor.asked == 3


async def test_what_is_not_final_is_asked_for_once_a_second() -> None:
    anchor, clock = Anchor(), HandClock()
    proofs = Proofs(anchor.ask, clock)
    for _ in range(5):
        assert await proofs.find(UUID(int=1)) is None
    assert anchor.asked == 1
    clock.seconds += PENDING_SECONDS
    anchor.answer = MINED
    assert await proofs.find(UUID(int=1)) is MINED


async def test_those_used_longest_ago_are_forgotten() -> None:
    anchor = Anchor()
    anchor.answer = FINAL
    proofs = Proofs(anchor.ask, HandClock(), capacity=2)
    for number in (1, 2, 1, 3, 1):
        await proofs.find(UUID(int=number))
    assert anchor.asked == 3
    await proofs.find(UUID(int=2))
    assert anchor.asked == 4


async def test_without_the_anchor_service_only_final_proofs_are_given() -> None:
    anchor, clock = Anchor(), HandClock()
    proofs = Proofs(anchor.ask, clock)
    anchor.answer = FINAL
    await proofs.find(UUID(int=1))
    anchor.away = True
    assert await proofs.find(UUID(int=1)) is FINAL
    with pytest.raises(DependencyUnavailable):
        await proofs.find(UUID(int=2))
