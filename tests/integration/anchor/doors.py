"""A running server of Anchor with its access rules, and channels to it for each kind of caller."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.rpc import error_details_pb2, status_pb2
from jwt.algorithms import OKPAlgorithm
from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1 import anchor_pb2_grpc

from anchor.chain import Chain, ChainUnavailableError
from anchor.changes import Changes
from anchor.intake import Intake
from anchor.listing import Listing
from anchor.node import Nodes, Reader
from anchor.reader import EvmReader
from anchor.service import AnchorService
from anchor.watch import Watch
from mesh.client import channel, peer
from mesh.clock import SystemClock, new_id
from mesh.config import ServerSettings
from mesh.identity import ServiceAuthenticator, ServiceTokens
from mesh.limits import LocalLimiter
from mesh.paging import PageTokens
from mesh.policy import SERVICE, USER
from mesh.refusals import Refusals
from mesh.server import Server, ServerParts
from mesh.user_tokens import UserAuthenticator
from tests.fakes.people import JWKS
from tests.integration.anchor.world import World
from tests.servers import free_port

CLOCK = SystemClock()
WATCHERS = 3
QUESTIONS = 2
FAR_SECONDS = 1000.0
"""A poll that no test waits for: what arrives before came by a notification."""


class BentReader:
    """A node that can be away, or hang."""

    def __init__(self, reader: EvmReader) -> None:
        self._reader = reader
        self.away = False
        self.waiting = 0
        self.going = asyncio.Event()
        self.going.set()

    async def open(self, chain_id: int, contract: str) -> Chain:
        self.waiting += 1
        await self.going.wait()
        self.waiting -= 1
        if self.away:
            raise ChainUnavailableError("away")
        return await self._reader.open(chain_id, contract)


class Door:
    """A running server, and a stub for each kind of caller."""

    def __init__(self, world: World, others: Mapping[str, Reader] | None = None) -> None:
        self.world = world
        self.keys = {name: Ed25519PrivateKey.generate() for name in ("factory", "scan", "admin")}
        self.changes = Changes(world.pool, poll_seconds=FAR_SECONDS, watchers=WATCHERS)
        self.reader = BentReader(EvmReader(world.ground.web3))
        watch = Watch(world.store, self.changes)
        self.service = AnchorService(
            Intake(world.store),
            world.store,
            proofs=world.proofs,
            watch=watch,
            listing=Listing(world.store, PageTokens(b"key")),
            nodes=Nodes({world.target: self.reader, **(others or {})}, at_once=QUESTIONS),
        )
        self.settings = ServerSettings(
            listen_host="127.0.0.1", listen_port=free_port(), drain_seconds=0, grace_seconds=5
        )
        self.target = f"127.0.0.1:{self.settings.listen_port}"

    def server(self) -> Server:
        documents = [
            OKPAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": f"{name}-1", "svc": name}
            for name, key in self.keys.items()
        ]
        parts = ServerParts(
            settings=self.settings,
            contracts=[pb],
            register=[(anchor_pb2_grpc.add_AnchorServiceServicer_to_server, self.service)],
            authenticators={
                USER: UserAuthenticator(JWKS, CLOCK),
                SERVICE: ServiceAuthenticator(json.dumps({"keys": documents}), "anchor", CLOCK),
            },
            limiter=LocalLimiter(CLOCK),
            on_stop=self.changes.close,
            refusals=Refusals(self.world.pool, CLOCK, new_id),
        )
        return Server(parts)

    def channel(self, name: str | None) -> grpc.aio.Channel:
        if name is None:
            return channel(self.target)
        pem = self.keys[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return peer(self.target, tokens=ServiceTokens(name, pem, CLOCK), service="anchor")


def reason(error: grpc.aio.AioRpcError) -> str:
    trailing = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


async def failing(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason(caught.value)
