"""A Valkey cluster of three primaries on the loopback address, and what moves its slots."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mesh.cluster import SLOTS
from mesh.config import ValkeySettings
from mesh.errors import DependencyUnavailable
from mesh.local.process import Child
from mesh.local.valkey import ValkeyServer
from mesh.pipeline import Pipeline, ValkeyRefusedError
from mesh.presence import Presence

NODES = 3
NODE_TIMEOUT_MS = 1_000
SETTINGS = f"""cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout {NODE_TIMEOUT_MS}
cluster-require-full-coverage no
"""
PATIENCE_SECONDS = 30.0


class ClusterNode(ValkeyServer):
    """One primary; `bus` is the port that the nodes talk on."""

    def __init__(self, folder: Path, port: int, password: str, *, bus: int, durable: bool) -> None:
        super().__init__(folder, port, password, log=folder.with_suffix(".log"), durable=durable)
        self.bus = bus

    async def prepare(self) -> Child:
        child = await super().prepare()
        with self._config.open("a") as config:
            config.write(f'{SETTINGS}cluster-port {self.bus}\nprimaryauth "{self._password}"\n')
        return child

    async def ask(self, *words: str | bytes | int) -> Any:
        node = Pipeline(ValkeySettings(valkey_url=self.url), Presence("one node"), timeout=5.0)
        await node.start()
        try:
            return await node.call(*words)
        finally:
            await node.close()


class ValkeyCluster:
    """Each node has a third of the slots at first."""

    def __init__(self, folder: Path, password: str, *, free_port: Callable[[], int], durable: bool = False) -> None:
        self.nodes = [
            ClusterNode(folder / f"node{number}", free_port(), password, bus=free_port(), durable=durable)
            for number in range(NODES)
        ]

    @property
    def url(self) -> str:
        """The address, with the password, of the first node."""
        return self.nodes[0].url

    async def start(self) -> None:
        """Starts the nodes and makes them one cluster."""
        await asyncio.gather(*[node.start() for node in self.nodes])
        bounds = [SLOTS * number // NODES for number in range(NODES + 1)]
        for node, first, past in zip(self.nodes, bounds, bounds[1:], strict=False):
            await node.ask("CLUSTER", "ADDSLOTSRANGE", first, past - 1)
            await self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)
        await self.until_whole()

    async def stop(self) -> None:
        await asyncio.gather(*[node.stop() for node in self.nodes])

    async def owner(self, slot: int) -> ClusterNode:
        """The node that says itself that it has a slot."""
        for node in self.nodes:
            if node.running and slot in await _own_slots(node):
                return node
        raise LookupError(f"nobody has slot {slot}")

    async def move(self, slot: int, to: ClusterNode) -> None:
        """Moves a slot with its keys in one step, and waits until all nodes know."""
        source, target = await self.owner(slot), (await to.ask("CLUSTER", "MYID")).decode()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await _migrates(source, slot, target):
                await asyncio.sleep(0.02)
            while slot not in await _own_slots(to):
                await asyncio.sleep(0.02)

    async def until_whole(self) -> None:
        """Waits until every node sees all slots served by all nodes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not all([await _sees_all(node) for node in self.nodes]):
                await asyncio.sleep(0.02)


async def _ranges(node: ClusterNode) -> list[tuple[int, int, int]]:
    """First slot, last slot, port."""
    told = await node.ask("CLUSTER", "SLOTS")
    return [(first, last, owner[1]) for first, last, owner, *_ in told]


async def _migrates(source: ClusterNode, slot: int, target: str) -> bool:
    """False while the node has not done with the slot's move before this one."""
    try:
        await source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target)
    except ValkeyRefusedError as error:
        if "already migrating" not in str(error):
            raise
        return False
    return True


async def _own_slots(node: ClusterNode) -> set[int]:
    return {slot for first, last, port in await _ranges(node) if port == node.port for slot in range(first, last + 1)}


async def _sees_all(node: ClusterNode) -> bool:
    wanted = {"cluster_state:ok", f"cluster_slots_ok:{SLOTS}", f"cluster_known_nodes:{NODES}"}
    try:
        info = await node.ask("CLUSTER", "INFO")
    except DependencyUnavailable:
        return False
    return wanted <= set(info.decode().split())
