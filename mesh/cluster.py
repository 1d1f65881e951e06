"""A Valkey cluster for the hot path: one lean connection a node, every call to the node that has its hash tag's slot.

A call is made again only when the reply says that it was not made (MOVED, ASK, TRYAGAIN, CLUSTERDOWN): one whose
answer is lost may have been. Source: https://valkey.io/topics/cluster-spec.
"""

import asyncio
from binascii import crc_hqx
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import structlog

from mesh.config import SpreadSettings, ValkeySettings
from mesh.errors import DependencyUnavailable
from mesh.pipeline import Lanes, Pipeline, ValkeyAwayError, ValkeyRefusedError
from mesh.presence import Presence

SLOTS = 16_384
HOPS = 5
LOOK_SECONDS = 0.1
AGAIN_SECONDS = 0.01
ELSEWHERE, NOT_NOW = frozenset(("MOVED", "ASK")), frozenset(("TRYAGAIN", "CLUSTERDOWN"))

_Words = tuple[str | bytes | int, ...]
Address = tuple[str, int]

log = structlog.get_logger()


def lanes(settings: SpreadSettings, presence: Presence, *, timeout: float = 0.25) -> Lanes:
    """What leads to one server or to a cluster, as the settings say."""
    if settings.valkey_cluster:
        return Cluster(settings, presence, timeout=timeout)
    return Pipeline(settings, presence, timeout=timeout)


def slot_of(tag: bytes) -> int:
    """The slot of the keys that have this hash tag, braces and all: CRC-16/XMODEM of what is between them."""
    return crc_hqx(tag.removeprefix(b"{").removesuffix(b"}"), 0) % SLOTS


class Cluster:
    """The nodes that have slots. Who has which is learnt at start, from redirections, and anew when a node is lost.

    `timeout`, in seconds, is each node's, and how long a call is made again that the cluster does not take now.
    """

    def __init__(self, settings: ValkeySettings, presence: Presence, *, timeout: float = 0.25) -> None:
        self._settings = settings
        self._url = urlsplit(settings.valkey_url)
        self.timeout = timeout
        self._seed = Pipeline(settings, presence, timeout=timeout)
        self._nodes: dict[Address, tuple[Pipeline, Presence]] = {}
        self._owners: list[Address | None] = [None] * SLOTS
        self._joining = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None

    async def start(self, *, wait_seconds: float = 0) -> None:
        """See Lanes. Nodes that are away are no obstacle: those of their slots are."""
        await self._seed.start(wait_seconds=wait_seconds)
        try:
            await self._learn(await self._seed.call("CLUSTER", "SLOTS"))
        except (ValkeyAwayError, ValkeyRefusedError) as error:
            log.error("this is no cluster of Valkey", host=self._url.hostname, port=self._url.port, error=str(error))
            await self.close()
            raise DependencyUnavailable(dependency="Valkey") from error

    def at(self, tag: bytes) -> "ClusterLane":
        """See Lanes."""
        return ClusterLane(self, slot_of(tag))

    async def everywhere(self, *words: str | bytes | int) -> list[Any]:
        """See Lanes."""
        told = await asyncio.gather(*[_told(node, words) for node, _ in self._nodes.values()], return_exceptions=True)
        if answers := [answer for answer in told if not isinstance(answer, BaseException)]:
            return answers
        for error in told:
            raise error
        raise ValkeyAwayError("the cluster has no nodes")

    async def close(self) -> None:
        """See Lanes."""
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        for node in (self._seed, *[node for node, _ in self._nodes.values()]):
            await node.close()

    def owner(self, slot: int) -> Pipeline:
        """The node that has a slot, as far as is known. Raises ValkeyAwayError."""
        address = self._owners[slot]
        if address is None:
            raise ValkeyAwayError(f"no node has slot {slot}")
        return self._nodes[address][0]

    async def moved(self, slot: int, address: Address) -> Pipeline:
        """The node that a slot has moved to."""
        node = await self.node(address)
        self._owners[slot] = address
        return node

    async def node(self, address: Address) -> Pipeline:
        """The node at an address, which may be new."""
        async with self._joining:
            if address not in self._nodes:
                presence = Presence(f"Valkey {address[0]}:{address[1]}")
                node = Pipeline(self._settings_of(address), presence, timeout=self.timeout)
                await node.join()
                self._nodes[address] = node, presence
        return self._nodes[address][0]

    def look(self) -> None:
        """Asks in the background who has which slots, soon and once for many."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        await asyncio.sleep(LOOK_SECONDS)
        for node in (*[node for node, _ in self._nodes.values()], self._seed):
            with suppress(ValkeyAwayError, ValkeyRefusedError):
                await self._learn(await node.call("CLUSTER", "SLOTS"))
                return

    async def _learn(self, ranges: Any) -> None:
        """Takes CLUSTER SLOTS over: [first, last, [host, port, id, …], replicas …] for each range."""
        owners: list[Address | None] = [None] * SLOTS
        for first, last, (host, port, *_), *_ in ranges:
            address = (host or b"").decode() or self._seed.host, port
            owners[first : last + 1] = [address] * (last + 1 - first)
        known = {address for address in owners if address is not None}
        await asyncio.gather(*[self.node(address) for address in known])
        self._owners = owners
        for node, presence in [self._nodes.pop(address) for address in self._nodes.keys() - known]:
            await node.close()
            presence.forget()

    def _settings_of(self, address: Address) -> ValkeySettings:
        host, port = address
        user, at, _ = self._url.netloc.rpartition("@")
        netloc = f"{user}{at}[{host}]:{port}" if ":" in host else f"{user}{at}{host}:{port}"
        return self._settings.model_copy(update={"valkey_url": self._url._replace(netloc=netloc).geturl()})


class ClusterLane:
    """The way to one slot, wherever it moves."""

    def __init__(self, cluster: Cluster, slot: int) -> None:
        self._cluster = cluster
        self._slot = slot
        self._patient = True

    async def call(self, *words: str | bytes | int) -> Any:
        """See Lane. A slot that is not to be had is waited for once, and then not before it was had again."""
        until = asyncio.get_running_loop().time() + (self._cluster.timeout if self._patient else 0)
        try:
            answer = await self._sent(words, until)
        except ValkeyAwayError:
            self._cluster.look()
            raise
        self._patient = True
        return answer

    async def _sent(self, words: _Words, until: float) -> Any:
        node, asking, hops = self._cluster.owner(self._slot), False, 0
        while True:
            try:
                return await (_asking(node, words) if asking else node.call(*words))
            except ValkeyRefusedError as error:
                reason, _, where = str(error).partition(" ")
                if reason in ELSEWHERE and hops < HOPS:
                    hops, asking = hops + 1, reason == "ASK"
                    address = _address(where, node)
                    node = await (self._cluster.node(address) if asking else self._cluster.moved(self._slot, address))
                elif reason in NOT_NOW and asyncio.get_running_loop().time() < until:
                    self._cluster.look()
                    await asyncio.sleep(AGAIN_SECONDS)
                    node, asking = self._cluster.owner(self._slot), False
                else:
                    self._patient = self._patient and reason not in NOT_NOW
                    raise


async def _told(node: Pipeline, words: _Words) -> Any:
    return await node.call(*words)


async def _asking(node: Pipeline, words: _Words) -> Any:
    """Nothing comes between the two, which are given over in one turn of the event loop."""
    _, answer = await asyncio.gather(node.call("ASKING"), node.call(*words))
    return answer


def _address(where: str, told_by: Pipeline) -> Address:
    """`<slot> <host>:<port>`; without a host it is that of the node that says so."""
    host, _, port = where.partition(" ")[2].rpartition(":")
    return host or told_by.host, int(port)
