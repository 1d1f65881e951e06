"""A chain with two submitters, and what may happen to them, their node and the chain."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar, TypeVar

import asyncpg

from anchor.chain import ChainUnavailableError, Fees, Receipt, TransactionRefusedError, UnsignedTransaction
from anchor.evidence import TimeStamp
from anchor.journal import Journal
from anchor.submission import Location, Submission
from anchor.target import CHAIN, Policy
from anchor.target_journal import LeaseLostError, TargetJournal
from mesh.clock import new_id
from tests.integration.anchor.world import ETHER, GWEI, Ground, World

CONFIRMATIONS = 3
METHODS = ("check", "head", "block_hash", "balance", "used_nonces", "paused", "fees", "send", "receipt", "registered")
JUMPS = ("-1 day", "1 day", "-1 minute", "1 minute")


class Died(Exception):
    """The process is gone, between two steps or within one."""


def die() -> None:
    raise Died


def be_gone() -> None:
    raise ChainUnavailableError("gone")


class Frail(TargetJournal):
    """Dies before, within or after a commit, when it is told to."""

    dies: str | None = None

    @asynccontextmanager
    async def held(self, fence: int) -> AsyncIterator[Any]:
        self._perhaps("before")
        async with super().held(fence) as connection:
            yield connection
            self._perhaps("within")
        self._perhaps("after")

    def _perhaps(self, when: str) -> None:
        if self.dies == when:
            self.dies = None
            raise Died


class FrailJournal(Frail, Journal):
    """A submitter's."""


def other_receipt(receipt: Receipt | None) -> Receipt | None:
    """One that names another block."""
    return receipt and replace(receipt, block_hash=bytes(32), block_number=receipt.block_number - 1)


def failed_receipt(receipt: Receipt | None) -> Receipt | None:
    return receipt and replace(receipt, succeeded=False)


LIES: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("receipt", other_receipt),
    ("receipt", failed_receipt),
    ("receipt", lambda _: None),
    ("registered", lambda _: None),
    ("block_hash", lambda _: None),
    ("head", lambda head: max(0, head - 2)),
    ("head", lambda head: head + 50),
    ("used_nonces", lambda nonces: max(0, nonces - 1)),
    ("used_nonces", lambda nonces: nonces + 1),
    ("fees", lambda _: Fees(1, 1)),
)


S = TypeVar("S")
Events = Sequence[tuple[Callable[[S], Awaitable[None]], int]]


@dataclass(frozen=True)
class Course:
    """What every site of a schedule has in common."""

    pool: "asyncpg.Pool[Any]"
    random: Random
    policy: Policy
    submissions: list[Submission] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What happened, for whoever looks into a failure."""

    async def befall(self, site: S, target: str, events: "Events[S]") -> None:
        """One of the things that may happen to a site, as often as their weights say."""
        event = self.random.choices([event for event, _ in events], [weight for _, weight in events])[0]
        self.told.append(f"{target}:{event.__name__.removeprefix('_')}")
        await event(site)

    async def expire(self) -> None:
        """Nobody's lease is good any more."""
        await self.pool.execute("UPDATE lease SET expires_at = now() - interval '1 second'")


class Site:
    """A target on a chain that mines only when it is told to."""

    def __init__(self, course: Course, ground: Ground, target: str = CHAIN) -> None:
        self.target = target
        self._course = course
        self._random, self._pool, self._expire = course.random, course.pool, course.expire
        self._ground = ground
        self._worlds = [self._start(), self._start()]
        self._base = 0
        self._raws: dict[bytes, bytes] = {}

    def _start(self) -> World:
        """A submitter's process."""
        world = World(self._pool, self._ground, self.target)
        world.journal = FrailJournal(self._pool, world.journal.account)
        world.configure(confirmations=CONFIRMATIONS, targets=self._course.policy)
        return world

    async def begin(self) -> None:
        """What was before stays as it is, whatever happens from now on."""
        await self._ground.rpc("anvil_dropAllTransactions")
        await self._ground.mine(CONFIRMATIONS)
        self._base = await self._ground.chain().head()

    async def happen(self) -> None:
        """Something does."""
        await self._course.befall(self, self.target, self.EVENTS)

    async def restart(self) -> None:
        """A healthy submitter, with funds."""
        await self._fund()
        self._worlds[0] = self._start()

    async def turn(self) -> None:
        """One look of the healthy one, and a block."""
        await self._round(self._worlds[0])
        await self._ground.mine()

    async def check(self, root: bytes, proof: Location | TimeStamp) -> None:
        """A tree is on the chain exactly once, where we say."""
        assert await self._ground.registrations(root) == 1
        receipt = await self._ground.chain().registered(root)
        assert receipt is not None
        assert isinstance(proof, Location)
        assert (receipt.hash, receipt.block_number) == (proof.transaction, proof.block_number)
        assert (proof.chain_id, proof.contract) == (self._ground.deployment.chain_id, self._worlds[0].chain.contract)

    async def end(self) -> None:
        """The account is not stuck, and every row names the block that there is."""
        used = await self._ground.chain().used_nonces(self._ground.signer.address)
        rows = await self._pool.fetch(
            "SELECT nonce, block_number, block_hash FROM transactions WHERE target = $1", self.target
        )
        assert len({row["nonce"] for row in rows}) == len(rows)
        assert all(row["nonce"] < used for row in rows)
        for row in rows:
            assert await self._ground.chain().block_hash(row["block_number"]) == row["block_hash"]

    async def _round(self, world: World) -> None:
        """One look of one submitter, if it has the lease; one that died is started anew."""
        if not world.fence:
            world.fence = await world.journal.acquire(new_id(), 1000) or 0
            if not world.fence:
                return
        try:
            await world.round()
        except LeaseLostError:
            world.fence = 0
        except ChainUnavailableError:
            pass
        except Died:
            self._worlds = [self._start() if each is world else each for each in self._worlds]
            if self._random.random() < 0.7:
                await self._expire()

    def _any(self) -> World:
        return self._random.choice(self._worlds)

    async def submit(self) -> None:
        """Some roots."""
        self._course.submissions.extend(await self._worlds[0].submit(self._random.randrange(1, 4)))

    async def _look(self) -> None:
        await self._round(self._any())

    async def _look_both(self) -> None:
        """One of them may think that it still has the lease."""
        await asyncio.gather(*map(self._round, list(self._worlds)))

    async def _go_on(self) -> None:
        """Long enough for what is sent to become final, if nothing keeps it from it."""
        for _ in range(CONFIRMATIONS + 1):
            await self._look()
            await self._ground.mine()
        await self._look()

    async def _crash(self) -> None:
        world = self._any()
        if self._random.random() < 0.5:
            step = f"{self._random.choice(METHODS)}:{self._random.choice(('before', 'after'))}"
            world.chain.plan(step, die)
        else:
            assert isinstance(world.journal, FrailJournal)
            world.journal.dies = self._random.choice(("before", "within", "after"))
        await self._round(world)

    async def _usurp(self) -> None:
        """In the midst of a step of one submitter, another takes the lease and works."""
        one, other = self._random.sample(self._worlds, 2)

        async def take_over() -> None:
            await self._expire()
            other.fence = 0
            await self._round(other)

        one.chain.plan(f"{self._random.choice(METHODS)}:{self._random.choice(('before', 'after'))}", take_over)
        await self._round(one)

    async def _go_away(self) -> None:
        step = f"{self._random.choice(METHODS)}:{self._random.choice(('before', 'after'))}"
        self._any().chain.plan(step, *[be_gone] * self._random.randrange(1, 3))

    async def _lie(self) -> None:
        method, lie = self._random.choice(LIES)
        self._any().chain.lie(method, *[lie] * self._random.randrange(1, 3))

    async def _mine(self) -> None:
        await self._ground.mine(self._random.choice((1, 1, 1, 2, 4)))

    async def _drop(self) -> None:
        await self._ground.rpc("anvil_dropAllTransactions")

    async def _reorganise(self) -> None:
        """Other blocks in place of the newest, with the first of their transactions or none."""
        head = await self._ground.chain().head()
        depth = min(self._random.randrange(1, 8), head - self._base)
        if depth < 1:
            return
        raws = await self._raws_since(head - depth + 1)
        kept = raws[: self._random.randrange(len(raws) + 1)]
        offsets = sorted(self._random.randrange(depth) for _ in kept)
        pairs = [["0x" + raw.hex(), offset] for raw, offset in zip(kept, offsets, strict=True)]
        await self._ground.rpc("anvil_reorg", depth, pairs)

    async def _raws_since(self, block: int) -> list[bytes]:
        known = self._raws | {
            row["hash"]: row["raw"] for row in await self._pool.fetch("SELECT hash, raw FROM attempts")
        }
        raws = []
        for number in range(block, await self._ground.chain().head() + 1):
            found = await self._ground.rpc("eth_getBlockByNumber", hex(number), False)
            raws += [known[bytes.fromhex(hash_[2:])] for hash_ in found["transactions"]]
        return raws

    async def _intrude(self) -> None:
        """The key sends something of its own, under the next nonce."""
        signer = self._ground.signer
        nonce = await self._ground.chain().used_nonces(signer.address) + self._random.choice((0, 0, 1))
        fees = Fees(90 * GWEI, 50 * GWEI)
        signed = await signer.sign(
            UnsignedTransaction(self._ground.deployment.chain_id, nonce, signer.address, b"", 21_000, fees)
        )
        with suppress(TransactionRefusedError):
            await self._ground.chain().send(signed.raw)
            self._raws[signed.hash] = signed.raw

    async def _jump(self) -> None:
        """PostgreSQL's clock: what it noted before is as much farther away now."""
        by = self._random.choice(JUMPS)
        await self._pool.execute(f"UPDATE attempts SET sent_at = sent_at + interval '{by}'")
        await self._pool.execute(
            f"UPDATE submissions SET created_at = created_at + interval '{by}' WHERE tree_id IS NULL"
        )
        await self._pool.execute(f"UPDATE lease SET expires_at = expires_at + interval '{by}'")

    async def _ruin(self) -> None:
        await self._ground.rpc("anvil_setBalance", self._ground.signer.address, "0x0")

    async def _fund(self) -> None:
        await self._ground.rpc("anvil_setBalance", self._ground.signer.address, hex(10 * ETHER))

    async def _rise(self) -> None:
        await self._ground.rpc("anvil_setNextBlockBaseFeePerGas", hex(self._random.randrange(1, 30) * GWEI))

    async def _let_go(self) -> None:
        await self._expire()

    EVENTS: ClassVar[Events["Site"]] = (
        (submit, 4),
        (_look, 14),
        (_look_both, 3),
        (_go_on, 4),
        (_let_go, 2),
        (_crash, 6),
        (_usurp, 3),
        (_go_away, 3),
        (_lie, 4),
        (_mine, 10),
        (_drop, 2),
        (_reorganise, 6),
        (_intrude, 4),
        (_jump, 3),
        (_ruin, 1),
        (_fund, 2),
        (_rise, 2),
    )
