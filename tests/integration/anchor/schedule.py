"""A schedule of faults that follows from one number: what befalls the targets of anchors, and what must hold then."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import asyncpg

from anchor.proofs import Proofs
from anchor.store import Store
from anchor.submission import Progress, Submission
from anchor.target import Policy
from anchor.window import leaf
from mesh.clock import new_id
from tests.integration.anchor.office import Office
from tests.integration.anchor.site import Course, Site
from tests.integration.anchor.world import Ground
from trust.merkle import verify_inclusion

PATIENCE = 80
"""Rounds within which healthy targets have everything final."""

Start = Callable[[Course], Site | Office]
"""Makes a target of a schedule."""


class Schedule:
    """What befalls the target `chain` and any others of one policy, in its order."""

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        ground: Ground,
        seed: int,
        *,
        policy: Policy | None = None,
        others: Sequence[Start] = (),
    ) -> None:
        self._random = Random(seed)
        self._pool = pool
        self._course = Course(pool, self._random, policy or Policy())
        self._first = Site(self._course, ground)
        self._sites: list[Site | Office] = [self._first, *(start(self._course) for start in others)]
        self._store = Store(pool, new_id)
        self._proofs = Proofs(self._store)
        self.told = self._course.told

    async def run(self, length: int) -> None:
        """So many events, and then health: every root is anchored once at each target, and no account is stuck."""
        for site in self._sites:
            await site.begin()
        await self._submit()
        for _ in range(length):
            await self._random.choice(self._sites).happen()
        await self._heal()
        await self._submit()
        await self._heal()
        for submission in self._course.submissions:
            await self._check(submission)
        for site in self._sites:
            await site.end()

    async def _submit(self) -> None:
        """Whichever chain's process is there makes a tree of them."""
        await self._first.submit()

    async def _heal(self) -> None:
        for site in self._sites:
            await site.restart()
        await self._course.expire()
        for number in range(PATIENCE):
            for site in self._sites:
                await site.turn()
            if not await self._unfinished():
                return
            if number % 4 == 3:
                await self._pool.execute("UPDATE attempts SET sent_at = sent_at - interval '1 day'")
        raise AssertionError(f"not final after {PATIENCE} rounds: {await self._unfinished()}")

    async def _unfinished(self) -> list[Any]:
        rows = await self._pool.fetch(
            "SELECT tree_id, s.target, s.state, x.state, x.nonce"
            " FROM stamps s LEFT JOIN transactions x USING (tree_id, target)"
            " WHERE s.state <> 'final' OR x.state <> 'final'"
            " UNION ALL SELECT 0, '', 'pending', NULL, NULL FROM submissions WHERE tree_id IS NULL"
        )
        return [tuple(row) for row in rows]

    async def _check(self, submission: Submission) -> None:
        """It is final, its proof verifies, and each target of the policy has its tree exactly once, as we say."""
        anchor = await self._store.find(submission.kind, submission.subject_id)
        assert anchor is not None
        assert anchor.progress is Progress.FINAL
        proof = await self._proofs.of(anchor)
        assert proof is not None
        assert verify_inclusion(leaf(submission), proof.index, proof.size, list(proof.path), proof.anchor_root)
        evidence = await self._store.evidence(anchor)
        assert [each.target for each in evidence] == [site.target for site in self._sites]
        assert anchor.location == evidence[0].proof
        for site, each in zip(self._sites, evidence, strict=True):
            await site.check(proof.anchor_root, each.proof)
