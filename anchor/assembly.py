"""The processes that hold the chain key, put together. The server imports none of their code."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn

import structlog
import uvloop
from eth_utils.address import to_checksum_address
from prometheus_client import REGISTRY

from anchor.chain import Chain, ChainError, ChainMismatchError, ChainUnavailableError
from anchor.config import DeliverySettings, DeploySettings, NodeSettings, SubmitSettings
from anchor.contract import Deployment, anchor_registry
from anchor.delivery import Delivery, DeliveryPolicy
from anchor.deployment import Deployer
from anchor.evm import EvmChain, web3_over_http
from anchor.journal import Account, Journal
from anchor.lease import Lease
from anchor.metrics import Metrics
from anchor.remote_signer import RemoteSigner
from anchor.signer import Signer, SignerError, from_key_file
from anchor.submitter import Submitter
from anchor.window import Windows
from mesh.clock import new_id
from mesh.database import connect
from mesh.telemetry import serve_metrics

log = structlog.get_logger()
GWEI = 10**9
RETRY_SECONDS = 0.2


Wrap = Callable[[Chain], Chain]


async def submit(settings: SubmitSettings, wrap: Wrap = lambda chain: chain) -> None:
    """Submits until SIGTERM or SIGINT. Exits with 1 and a message when chain, contract or key are not as set."""
    stop = _told_to_stop()
    web3 = web3_over_http(settings.chain_url.get_secret_value(), settings.chain_timeout_seconds)
    deployment = Deployment.parse(settings.deployment)
    chain = wrap(EvmChain(web3, deployment, anchor_registry(), gas=settings.gas_limit))
    try:
        signer = signer_of(settings)
        await patiently(lambda: chain.check(signer.address), settings.start_seconds)
        await _submit(settings, chain, signer, stop)
    except (ChainError, ChainMismatchError, SignerError) as error:
        fail(error)
    finally:
        await web3.provider.disconnect()


async def submit_in_memory(settings: DeliverySettings) -> None:
    """As `submit`, to a chain that begins with this process and ends with it."""
    from anchor.memory import MemoryChain  # whose library is not installed in production

    stop = _told_to_stop()
    chain, signer = await MemoryChain.start(gas=settings.gas_limit)
    try:
        await _submit(settings, chain, signer, stop)
    except (ChainError, ChainMismatchError) as error:
        fail(error)


def _told_to_stop() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _submit(settings: DeliverySettings, chain: Chain, signer: Signer, stop: asyncio.Event) -> None:
    serve_metrics(settings.metrics_host, settings.metrics_port)
    pool = await connect(settings, schema="anchor")
    journal = Journal(pool, Account(chain.kind, chain.chain_id, chain.contract, signer.address, settings.target))
    if foreign := await journal.foreign():
        raise ChainMismatchError(f"transactions are unfinished for {'; '.join(foreign)}: finish them with its settings")
    metrics = Metrics(REGISTRY)
    confirmations = None if settings.confirmations == "finalized" else settings.confirmations
    policy = DeliveryPolicy(confirmations, settings.resend_after_seconds, int(settings.max_fee_gwei * GWEI))
    submitter = Submitter(
        journal=journal,
        windows=Windows.under(settings.policy, journal, settings.window_seconds, settings.window_roots),
        chain=chain,
        address=signer.address,
        deliver=partial(Delivery, journal=journal, chain=chain, signer=signer, policy=policy, metrics=metrics),
        metrics=metrics,
        poll_seconds=settings.poll_seconds,
    )
    try:
        await submitter.run(Lease(journal, new_id(), settings.lease_seconds), stop)
    finally:
        await pool.close()


def deploy(settings: DeploySettings) -> str:
    """The deployment as JSON, which is also in its file then. Exits with 1 and a message when there is none."""
    try:
        known = Deployment.read(settings.deployment_path)
        return uvloop.run(_deploy(settings, known)).write(settings.deployment_path)
    except (OSError, ValueError) as error:
        fail(error)


async def _deploy(settings: DeploySettings, known: Deployment | None) -> Deployment:
    web3 = web3_over_http(settings.chain_url.get_secret_value(), settings.chain_timeout_seconds)
    try:
        deployer = Deployer(web3, signer_of(settings), anchor_registry(), settings.chain_id)
        await patiently(deployer.check, settings.start_seconds)
        return await deployer.deploy(known)
    except (ChainError, ChainMismatchError, SignerError) as error:
        fail(error)
    finally:
        await web3.provider.disconnect()


def signer_of(settings: NodeSettings) -> Signer:
    """The signer that the settings name. Raises SignerError."""
    if settings.chain_key_file is not None:
        return from_key_file(settings.chain_key_file, settings.chain_key_password)
    assert settings.signer_url is not None
    assert settings.signer_address is not None
    assert settings.signer_token is not None
    return RemoteSigner(
        settings.signer_url.get_secret_value(),
        to_checksum_address(settings.signer_address),
        settings.signer_token,
        timeout_seconds=settings.signer_timeout_seconds,
    )


async def patiently(ask: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Asks a node that may be starting, for so long. Raises ChainUnavailableError."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await ask()
        except ChainUnavailableError as error:
            if asyncio.get_running_loop().time() + RETRY_SECONDS > deadline:
                raise ChainUnavailableError(f"the chain cannot be reached: {error}") from error
        await asyncio.sleep(RETRY_SECONDS)


def fail(error: Exception) -> NoReturn:
    """Says what is wrong and exits with 1."""
    log.error("cannot go on", error=str(error))
    sys.exit(1)
