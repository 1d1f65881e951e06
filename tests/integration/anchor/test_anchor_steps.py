"""Every step of the state machine, by the name it has in docs/anchoring.md, and that the database takes no other."""

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import asyncpg
import pytest

from anchor.chain import ChainUnavailableError
from anchor.transaction import State
from mesh.config import DatabaseSettings
from tests.fakes.chain import raising
from tests.integration.anchor.test_reorganisations import foreign
from tests.integration.anchor.world import World
from tests.servers import PostgresAddress

DOCS = Path(__file__).resolve().parents[3] / "docs" / "anchoring.md"
ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` → `(\w+)` \|", re.MULTILINE)
STEPS = {name: (before, after) for name, before, after in ROW.findall(DOCS.read_text())}

TAKEN = """
CREATE TABLE public.steps (place serial, before text, after text);
GRANT ALL ON public.steps, public.steps_place_seq TO voketag_anchor;
CREATE FUNCTION public.note_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.steps (before, after) VALUES (OLD.state, NEW.state);
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER UPDATE ON anchor.transactions FOR EACH ROW EXECUTE FUNCTION public.note_step();
CREATE FUNCTION public.note_bump() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.steps (before, after) SELECT state, state FROM anchor.transactions
    WHERE tree_id = NEW.tree_id AND state <> 'built';
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER INSERT ON anchor.attempts FOR EACH ROW EXECUTE FUNCTION public.note_bump();
"""


@pytest.fixture
async def owner(
    database: DatabaseSettings, postgres: PostgresAddress
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The owner's connection; every step of a transaction is noted in public.steps."""
    name = database.database_url.rsplit("/", 1)[1]
    connection = await asyncpg.connect(f"{postgres.dsn.rsplit('/', 1)[0]}/{name}")
    await connection.execute(TAKEN)
    yield connection
    await connection.close()


async def unreachable(world: World, step: str) -> None:
    """A round that ends at this step of the chain."""
    world.chain.plan(step, raising(ChainUnavailableError("gone")))
    with pytest.raises(ChainUnavailableError):
        await world.round()


async def built(world: World) -> None:
    await world.submit()
    await unreachable(world, "fees:before")


async def signed(world: World) -> None:
    await built(world)
    await unreachable(world, "send:before")


async def sent(world: World) -> None:
    await world.ground.rpc("evm_setAutomine", False)
    await signed(world)
    await world.round()


async def mined(world: World) -> None:
    await sent(world)
    await world.ground.mine()
    await world.round()


async def final(world: World) -> None:
    await mined(world)
    await world.ground.mine(2)
    await world.round()


async def mine(world: World) -> None:
    await world.ground.mine()


async def mine_enough(world: World) -> None:
    await world.ground.mine(2)


async def more_fees(world: World) -> None:
    world.configure(confirmations=3, resend_after_seconds=0)


async def take_the_nonce(world: World) -> None:
    [attempt] = await world.journal.attempts(1)
    await world.ground.rpc("anvil_dropAllTransactions")
    await foreign(world, attempt.nonce)
    await world.ground.mine()
    world.configure(confirmations=3, resend_after_seconds=0)


async def move(world: World) -> None:
    [attempt] = await world.journal.attempts(1)
    await world.ground.rpc("anvil_reorg", 1, [["0x" + attempt.raw.hex(), 0]])


async def lose_a_block(world: World) -> None:
    await world.ground.rpc("anvil_reorg", 1, [])


async def lose_three_blocks(world: World) -> None:
    await world.ground.rpc("anvil_reorg", 3, [])


async def nothing(world: World) -> None:
    """The next round comes by itself."""


async def behind_a_foreign_one(world: World) -> None:
    """Mined after a foreign transaction; both blocks go."""
    await foreign(world, await world.ground.chain().used_nonces(world.signer.address))
    await mined(world)
    await world.ground.rpc("anvil_reorg", 2, [])
    await world.round()


WAYS = {
    "sign": (built, nothing),
    "send": (signed, nothing),
    "mine": (sent, mine),
    "settle": (mined, mine_enough),
    "bump": (sent, more_fees),
    "fill_gap": (behind_a_foreign_one, more_fees),
    "move": (mined, move),
    "lose_block": (mined, lose_a_block),
    "lose_final": (final, lose_three_blocks),
    "lose_nonce": (sent, take_the_nonce),
}


def test_every_step_of_the_docs_has_a_way_here() -> None:
    assert list(STEPS) == list(WAYS)


@pytest.mark.parametrize("name", WAYS)
async def test_step(bent: World, owner: "asyncpg.Connection[asyncpg.Record]", name: str) -> None:
    begin, cause = WAYS[name]
    before, after = STEPS[name]
    bent.configure(confirmations=3)
    await bent.ground.mine(3)
    await begin(bent)
    assert await bent.states() == [before]
    await cause(bent)
    await owner.execute("TRUNCATE public.steps")
    await bent.round()
    first = await owner.fetchrow("SELECT before, after FROM public.steps ORDER BY place LIMIT 1")
    assert first is not None
    assert tuple(first) == (before, after)


async def test_the_database_takes_the_steps_of_the_docs_and_no_other(
    bent: World, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await built(bent)
    await owner.execute("CREATE TEMP TABLE bare (LIKE anchor.transactions)")
    await owner.execute("CREATE TRIGGER step BEFORE UPDATE ON bare FOR EACH ROW EXECUTE FUNCTION anchor.check_step()")
    taken = set()
    for before, after in product(State, State):
        await owner.execute("TRUNCATE bare")
        await owner.execute("INSERT INTO bare SELECT * FROM anchor.transactions")
        await owner.execute("ALTER TABLE bare DISABLE TRIGGER step")
        await owner.execute("UPDATE bare SET state = $1", before)
        await owner.execute("ALTER TABLE bare ENABLE TRIGGER step")
        with suppress(asyncpg.CheckViolationError):
            await owner.execute("UPDATE bare SET state = $1", after)
            taken.add((before.value, after.value))
    same = {(state.value, state.value) for state in State}
    assert taken - same == set(STEPS.values()) - same
