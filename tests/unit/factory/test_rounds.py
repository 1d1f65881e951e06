"""Turns go round by factory, not by arrival; and the place in line goes by what a factory waits for."""

import asyncio
from uuid import UUID

import pytest

from factory.backlog import priority
from factory.rounds import Rounds

A, B, C = (UUID(int=number) for number in (1, 2, 3))


class Work:
    """Jobs that each take one turn, and the order in which they got it."""

    def __init__(self, room: int, size: int = 1) -> None:
        self.rounds = Rounds(room)
        self.size = size
        self.order: list[UUID] = []
        self.under_way = 0
        self.most = 0

    async def one(self, factory_id: UUID) -> None:
        async with self.rounds.turn(factory_id, self.size):
            self.order.append(factory_id)
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(0)
            self.under_way -= 1


async def test_factories_take_turns_whatever_each_has_waiting() -> None:
    work = Work(room=1)
    async with asyncio.TaskGroup() as group:
        for factory_id in (A, A, A, A, A, B, B, C):
            group.create_task(work.one(factory_id))
    assert work.order == [A, A, B, C, A, B, A, A]
    assert work.most == 1


@pytest.mark.parametrize(("size", "together"), [(1, 10), (3, 3), (5, 2), (10, 1)])
async def test_small_ones_are_together_and_big_ones_one_after_the_other(size: int, together: int) -> None:
    work = Work(room=10, size=size)
    async with asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(work.one(UUID(int=number % 3)))
    assert len(work.order) == 30
    assert work.most == together


async def test_no_more_than_there_is_room_for_work_at_once_and_all_of_it_is_used() -> None:
    work = Work(room=2)
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(work.one(UUID(int=number % 3)))
    assert len(work.order) == 20
    assert work.most == 2
    async with work.rounds.turn(A, 1), work.rounds.turn(A, 1):
        pass


@pytest.mark.parametrize("let_in", [False, True])
async def test_whoever_gives_up_waiting_keeps_no_turn(let_in: bool) -> None:
    work = Work(room=1)
    async with work.rounds.turn(A, 1):
        waiting = asyncio.create_task(work.one(B))
        await asyncio.sleep(0)
        if not let_in:
            waiting.cancel()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(1):
        await work.one(C)
    assert work.order == [C]


async def test_turn_is_passed_on_when_the_work_fails() -> None:
    rounds = Rounds(1)
    with pytest.raises(ZeroDivisionError):
        async with rounds.turn(A, 1):
            raise ZeroDivisionError
    async with asyncio.timeout(1), rounds.turn(A, 1):
        pass


def test_priority_falls_by_one_with_every_doubling_of_the_backlog() -> None:
    assert [priority(n) for n in (1, 1000, 1999, 2000, 3999, 4000)] == [-1, -1, -1, -2, -2, -3]
    assert (priority(1_000_000), priority(30_000_000), priority(1_000_000_000)) == (-10, -15, -20)
