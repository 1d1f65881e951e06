"""A database and a contract of one's own, and a submitter that goes step by step."""

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from eth_account import Account as Key
from prometheus_client import CollectorRegistry
from web3 import AsyncHTTPProvider, AsyncWeb3

from anchor.contract import Deployment, anchor_registry
from anchor.delivery import Delivery, DeliveryPolicy
from anchor.deployment import Deployer
from anchor.evm import EvmChain, web3_over_http
from anchor.journal import Account, Journal
from anchor.metrics import Metrics
from anchor.proofs import Proofs
from anchor.signer import KeySigner, Signer
from anchor.store import Store
from anchor.submission import Anchor, Progress, Submission
from anchor.submitter import Submitter
from anchor.target import CHAIN, Policy
from anchor.window import WindowPolicy, Windows, leaf
from mesh.clock import new_id
from mesh.idempotency import RequestKey
from tests.fakes.chain import FaultyChain
from trust.canonical import SubjectKind
from trust.merkle import verify_inclusion

ETHER = 10**18
GWEI = 10**9
POLL_SECONDS = 0.01
OTHER_CHAIN = 4711


@dataclass
class Ground:
    """A chain's node, a contract on it, and the key that may write to it."""

    web3: AsyncWeb3[AsyncHTTPProvider]
    url: str
    deployment: Deployment
    signer: KeySigner
    key: str
    gas: int = 80_000

    @classmethod
    async def lay(cls, url: str, chain_id: int = 31_337) -> "Ground":
        web3 = web3_over_http(url, 10)
        key = secrets.token_hex(32)
        signer = KeySigner(Key.from_key(key))
        await web3.provider.make_request("anvil_setBalance", [signer.address, hex(10 * ETHER)])
        deployment = await Deployer(web3, signer, anchor_registry(), chain_id).deploy(None)
        return cls(web3, url, deployment, signer, key)

    async def rpc(self, method: str, *params: object) -> Any:
        answer = await self.web3.provider.make_request(method, list(params))
        assert "error" not in answer, answer
        return answer["result"]

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc("anvil_mine", hex(blocks))

    def chain(self) -> EvmChain:
        return EvmChain(self.web3, self.deployment, anchor_registry(), gas=self.gas)

    async def registrations(self, root: bytes) -> int:
        """How often the chain says that a root was anchored."""
        registry: Any = self.web3.eth.contract(self.chain().contract, abi=anchor_registry().abi)  # type: ignore[call-overload]
        events = registry.events.Anchored()
        return len(list(await events.get_logs(argument_filters={"root": root}, from_block=0)))


async def lay_other(url: str) -> Ground:
    """The same on a chain that has another id from now on."""
    web3 = web3_over_http(url, 10)
    await web3.provider.make_request("anvil_setChainId", [OTHER_CHAIN])
    await web3.provider.disconnect()
    return await Ground.lay(url, OTHER_CHAIN)


class World:
    """The store's side and the submitter's side of one anchor service."""

    def __init__(self, pool: "asyncpg.Pool[Any]", ground: Ground, target: str = CHAIN, **policy: Any) -> None:
        self.pool = pool
        self.ground = ground
        self.store = Store(pool, new_id)
        self.proofs = Proofs(self.store)
        self.chain = FaultyChain(ground.chain())
        self.signer: Signer = ground.signer
        self.target = target
        account = Account("evm", ground.deployment.chain_id, self.chain.contract, self.signer.address, target)
        self.journal = Journal(pool, account)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.fence = 0
        self.configure(**policy)

    def configure(
        self,
        *,
        confirmations: int | None = 1,
        resend_after_seconds: float = 1000,
        max_fee: int = 100 * GWEI,
        window_seconds: float = 0,
        window_roots: int = 1000,
        targets: Policy | None = None,
    ) -> None:
        """A submitter with this policy, as after a restart."""
        self.policy = DeliveryPolicy(confirmations, resend_after_seconds, max_fee)
        self.submitter = Submitter(
            journal=self.journal,
            windows=Windows(self.journal, WindowPolicy(window_seconds, window_roots, targets=targets or Policy())),
            chain=self.chain,
            address=self.signer.address,
            deliver=self.deliver,
            metrics=self.metrics,
            poll_seconds=POLL_SECONDS,
        )

    def deliver(self, fence: int) -> Delivery:
        return Delivery(
            journal=self.journal,
            chain=self.chain,
            signer=self.signer,
            policy=self.policy,
            metrics=self.metrics,
            fence=fence,
        )

    async def lead(self) -> int:
        """Takes the lease for this submitter."""
        fence = await self.journal.acquire(new_id(), 1000)
        assert fence is not None
        self.fence = fence
        return fence

    async def round(self) -> bool:
        if not self.fence:
            await self.lead()
        return await self.submitter.round(self.fence, self.deliver(self.fence))

    async def reach(self, *states: str) -> None:
        """Rounds until the transactions are in these states."""
        async with asyncio.timeout(20):
            await self.round()
            while (found := await self.states()) != list(states):
                assert len(found) <= len(states), found
                await asyncio.sleep(POLL_SECONDS)
                await self.round()

    async def submit(self, count: int = 1) -> list[Submission]:
        submissions = [batch() for _ in range(count)]
        for submission in submissions:
            await self.hand_in(submission)
        return submissions

    async def hand_in(self, submission: Submission, key: RequestKey | None = None, *, urgent: bool = False) -> Anchor:
        """Submits a root in a commit of its own."""
        return await self.store.submit(self.store.offer(submission, key or request(), urgent=urgent))

    async def find(self, submission: Submission) -> Anchor:
        anchor = await self.store.find(submission.kind, submission.subject_id)
        assert anchor is not None
        return anchor

    async def states(self) -> list[str]:
        query = "SELECT state FROM transactions WHERE target = $1 ORDER BY tree_id"
        return [row["state"] for row in await self.pool.fetch(query, self.target)]

    async def assert_anchored_once(self, submissions: Iterable[Submission]) -> None:
        """Each is final, its root's tree is on the chain exactly once, where we say, and its proof verifies."""
        for submission in submissions:
            anchor = await self.find(submission)
            assert anchor.progress is Progress.FINAL
            assert anchor.location is not None
            proof = await self.proofs.of(anchor)
            assert proof is not None
            assert verify_inclusion(leaf(submission), proof.index, proof.size, list(proof.path), proof.anchor_root)
            assert await self.ground.registrations(proof.anchor_root) == 1
            receipt = await self.ground.chain().registered(proof.anchor_root)
            assert receipt is not None
            assert (receipt.hash, receipt.block_number) == (anchor.location.transaction, anchor.location.block_number)


def batch(**changes: Any) -> Submission:
    fields: dict[str, Any] = {"kind": SubjectKind.BATCH, "subject_id": new_id(), "root": secrets.token_bytes(32)}
    return Submission(**fields | {"size": 1000} | changes)


def request(request_id: UUID | None = None, digest: bytes = b"digest") -> RequestKey:
    return RequestKey("service:factory", request_id or new_id(), "SubmitRoot", digest)
