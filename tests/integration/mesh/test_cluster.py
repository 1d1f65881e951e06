"""Three real nodes: calls find the owner of their slot while slots move, nodes die and come back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mesh.clock import SystemClock
from mesh.cluster import SLOTS, Cluster, lanes, slot_of
from mesh.config import SpreadSettings
from mesh.errors import DependencyUnavailable
from mesh.limits import LocalLimiter, Rate, SharedLimiter
from mesh.pipeline import Lane, Pipeline, ValkeyAwayError, ValkeyRefusedError
from mesh.presence import UP, Presence
from mesh.valkey import spread_client
from tests.clusters import ValkeyCluster
from tests.servers import ValkeyAddress, start_cluster

TAGS = [b"{%d}" % number for number in range(24)]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Cluster]:
    cluster = Cluster(SpreadSettings(valkey_url=url), Presence("Valkey"))
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.close()


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[ValkeyCluster]:
    cluster = await start_cluster(tmp_path)
    yield cluster
    await cluster.stop()


async def answered(lane: Lane, *words: str | bytes | int) -> object:
    """The answer, however often it must be asked for."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await lane.call(*words)
            except (ValkeyAwayError, ValkeyRefusedError):
                await asyncio.sleep(0.02)


async def test_every_call_finds_the_node_of_its_slot(valkey_cluster: ValkeyAddress) -> None:
    async with opened(valkey_cluster.url) as cluster:
        for tag in TAGS:
            assert await cluster.at(tag).call("CLUSTER", "KEYSLOT", tag) == slot_of(tag)
            assert await cluster.at(tag).call("SET", b"found:" + tag, tag) == b"OK"
            assert await cluster.at(tag).call("GET", b"found:" + tag) == tag
        assert len({await cluster.at(tag).call("CLUSTER", "MYID") for tag in TAGS}) == 3
        assert len(await cluster.everywhere("PING")) == 3


async def test_the_settings_say_which_it_is(valkey: ValkeyAddress, valkey_cluster: ValkeyAddress) -> None:
    one = SpreadSettings(valkey_url=valkey.url)
    assert isinstance(lanes(one, Presence("Valkey")), Pipeline)
    wrong = lanes(one.model_copy(update={"valkey_cluster": True}), Presence("Valkey"))
    with pytest.raises(DependencyUnavailable):
        await wrong.start()
    right = lanes(SpreadSettings(valkey_url=valkey_cluster.url, valkey_cluster=True), Presence("Valkey"))
    assert isinstance(right, Cluster)


async def test_limits_are_kept_on_a_cluster(valkey_cluster: ValkeyAddress) -> None:
    client = spread_client(SpreadSettings(valkey_url=valkey_cluster.url, valkey_cluster=True))
    limiter = SharedLimiter(client, LocalLimiter(SystemClock()))
    for caller in range(6):
        assert [await limiter.take(f"{caller}", Rate(0.01, 2)) > 0 for _ in range(3)] == [False, False, True]
    await client.aclose()


async def test_limits_go_on_while_nodes_are_away(servers: ValkeyCluster) -> None:
    client = spread_client(SpreadSettings(valkey_url=servers.url, valkey_cluster=True))
    limiter = SharedLimiter(client, LocalLimiter(SystemClock()))

    async def taken(round_name: str) -> None:
        for caller in range(6):
            taken = [await limiter.take(f"{round_name} {caller}", Rate(0.01, 2)) > 0 for _ in range(3)]
            assert taken == [False, False, True]

    await taken("all are there")
    await servers.nodes[1].kill()
    await taken("one is away")
    await asyncio.gather(*[node.kill() for node in servers.nodes])
    await taken("all are away")
    await asyncio.gather(*[node.start() for node in servers.nodes])
    await servers.until_whole()
    await taken("all are back")
    await client.aclose()


async def test_calls_follow_a_slot_that_moves_and_are_made_once(servers: ValkeyCluster) -> None:
    tag = TAGS[0]
    slot, made = slot_of(tag), 0
    stop = asyncio.Event()
    async with opened(servers.url) as cluster:
        lane = cluster.at(tag)

        async def count() -> None:
            nonlocal made
            while not stop.is_set():
                await lane.call("INCR", b"counter:" + tag)
                made += 1

        callers = [asyncio.create_task(count()) for _ in range(8)]
        for node in (*servers.nodes, *servers.nodes):
            if await servers.owner(slot) is not node:
                before = made
                await servers.move(slot, node)
                async with asyncio.timeout(20):
                    while made < before + 50:
                        await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*callers)
        assert int(await lane.call("GET", b"counter:" + tag)) == made


async def test_a_slot_that_moves_key_by_key_is_asked_for_where_its_keys_are(servers: ValkeyCluster) -> None:
    tag = TAGS[1]
    slot, old_key, new_key = slot_of(tag), b"old:" + tag, b"new:" + tag
    source = await servers.owner(slot)
    target = next(node for node in servers.nodes if node is not source)
    ids = {node: (await node.ask("CLUSTER", "MYID")).decode() for node in (source, target)}
    async with opened(servers.url) as cluster:
        lane = cluster.at(tag)
        await lane.call("SET", old_key, "1")
        await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        assert await lane.call("GET", old_key) == b"1"
        assert await lane.call("SET", new_key, "2") == b"OK"
        assert await target.ask("CLUSTER", "COUNTKEYSINSLOT", slot) == 1, "ASK led to the node that imports"
        with pytest.raises(ValkeyRefusedError, match="TRYAGAIN"):
            await lane.call("MGET", old_key, new_key)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(ValkeyRefusedError, match="TRYAGAIN"):
            await lane.call("MGET", old_key, new_key)
        assert asyncio.get_running_loop().time() - begun < cluster.timeout / 2, "waited for once"
        password = ("AUTH", "a password of tests only")
        await source.ask("MIGRATE", "127.0.0.1", target.port, old_key, 0, 5000, *password)
        for node in (target, source):
            await node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        assert await lane.call("MGET", old_key, new_key) == [b"1", b"2"]


async def test_a_node_that_dies_takes_its_slots_alone(servers: ValkeyCluster) -> None:
    async with opened(servers.url) as cluster:
        lanes = {tag: cluster.at(tag) for tag in TAGS}
        dead = servers.nodes[2]
        hit = {tag for tag in TAGS if await servers.owner(slot_of(tag)) is dead}
        assert 0 < len(hit) < len(TAGS)
        await dead.kill()
        for tag in hit:
            with pytest.raises((ValkeyAwayError, ValkeyRefusedError)):
                await lanes[tag].call("PING")
        for tag in TAGS:
            if tag not in hit:
                assert await lanes[tag].call("SET", b"x:" + tag, "1") == b"OK"
        assert len(await cluster.everywhere("PING")) == 2
        assert UP.labels(f"Valkey 127.0.0.1:{dead.port}")._value.get() == 0
        await dead.start()
        for tag in hit:
            assert await answered(lanes[tag], "SET", b"x:" + tag, "1") == b"OK"
        assert UP.labels(f"Valkey 127.0.0.1:{dead.port}")._value.get() == 1


async def test_a_node_without_slots_is_let_go(servers: ValkeyCluster) -> None:
    leaving, staying = servers.nodes[2], servers.nodes[1]
    async with opened(servers.url) as cluster:
        target = (await staying.ask("CLUSTER", "MYID")).decode()
        first = SLOTS * 2 // 3
        await leaving.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, SLOTS - 1, "NODE", target)
        tag = next(tag for tag in TAGS if slot_of(tag) >= first)
        lane = cluster.at(tag)
        async with asyncio.timeout(20):
            while (await lane.call("CLUSTER", "MYID")).decode() != target:
                await answered(lane, "GET", b"x:" + tag)
                cluster.look()
                await asyncio.sleep(0.05)
            while len(await cluster.everywhere("PING")) > 2:
                cluster.look()
                await asyncio.sleep(0.05)


async def test_it_starts_while_one_node_is_away(servers: ValkeyCluster) -> None:
    await servers.nodes[2].kill()
    async with opened(servers.url) as cluster:
        tag = next(tag for tag in TAGS if slot_of(tag) < SLOTS // 3)
        assert await cluster.at(tag).call("SET", b"x:" + tag, "1") == b"OK"
        await servers.nodes[2].start()
        late = next(tag for tag in TAGS if slot_of(tag) >= SLOTS * 2 // 3)
        assert await answered(cluster.at(late), "SET", b"x:" + late, "1") == b"OK"


async def test_calls_fail_after_close(valkey_cluster: ValkeyAddress) -> None:
    async with opened(valkey_cluster.url) as cluster:
        lane = cluster.at(TAGS[0])
        await lane.call("PING")
    with pytest.raises(ValkeyAwayError):
        await lane.call("PING")
