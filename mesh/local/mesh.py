"""The whole mesh on this machine: PostgreSQL, Valkey, the dev chain, the services with their workers, Envoy."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from mesh.edge.configuration import Address, EdgeSettings, render
from mesh.local.anvil import AnvilServer
from mesh.local.environment import Environment
from mesh.local.envoy import EnvoyServer
from mesh.local.files import write_whole
from mesh.local.ports import LOOPBACK, PortPicker
from mesh.local.postgres import PostgresFiles, PostgresServer
from mesh.local.secrets import SERVICES, Secrets
from mesh.local.server import Server
from mesh.local.services import ServiceServer, run_once
from mesh.local.state import MeshRecord, StateDirectory
from mesh.local.valkey import ValkeyServer

PORTS = (
    *("postgres", "valkey", "chain", "scan", "factory", "anchor", "admin", "edge", "internal", "envoy_admin"),
    *("scan_metrics", "factory_metrics", "factory_worker_metrics", "anchor_metrics", "anchor_submitter_metrics"),
    *("scan_journal_metrics", "admin_metrics", "admin_worker_metrics"),
)
MIGRATED = ("factory", "scan", "anchor", "admin")
FUNDS = 10**20
RESTART_SECONDS = 0.5

Say = Callable[[str], None]
"""Told what happens, a line each."""


class LocalMesh:
    """One mesh in one state directory."""

    def __init__(
        self, state: StateDirectory, *, edge_port: int | None = None, trusted_hops: int = 0, say: Say = lambda _: None
    ) -> None:
        """`trusted_hops` proxies in front of the edge are believed in x-forwarded-for."""
        self._state = state
        self._trusted_hops = trusted_hops
        self._edge_port = edge_port
        self._say = say
        self._picker = PortPicker(random.Random())  # noqa: S311 - a port is no secret
        self._servers: dict[str, Server] = {}
        self.secrets = Secrets(state.secrets, os.urandom)
        self.ports: dict[str, int] = {}

    @property
    def edge(self) -> str:
        """Where consumers and factories come in."""
        return f"http://{LOOPBACK}:{self.ports['edge']}"

    @property
    def chain(self) -> str:
        """JSON-RPC of the dev chain."""
        return f"http://{LOOPBACK}:{self.ports['chain']}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["LocalMesh"]:
        """The mesh, from ready to stopped; a process that dies meanwhile is started again.

        Raises LocalError when something cannot start; what had started is stopped.
        """
        self._state.make()
        with self._state.locked():
            self.secrets.make()
            self.ports = self._pick_ports()
            try:
                await self._start()
                async with asyncio.TaskGroup() as group:
                    keepers = [group.create_task(self._keep(name)) for name in self._servers]
                    try:
                        yield self
                    finally:
                        for keeper in keepers:
                            keeper.cancel()
            finally:
                await self._stop()

    def _pick_ports(self) -> dict[str, int]:
        """The ports of the last time, so that links stay good; new ones for what has none."""
        known = self._state.read().ports
        if self._edge_port:
            known = known | {"edge": self._edge_port}
        return {name: self._picker.pick(known.get(name)) for name in PORTS}

    async def _start(self) -> None:
        ports, logs = self.ports, self._state.logs
        await asyncio.gather(
            self._begin("postgres", self._postgres()),
            self._begin("valkey", self._valkey()),
            self._begin("chain", AnvilServer(self._state.data / "chain", ports["chain"], log=logs / "chain.log")),
        )
        environment = Environment(ports, self.secrets, self._state.data / "deployment.json", f"{self.edge}/r/")
        await asyncio.gather(self._migrate(environment), self._deploy(environment))
        services = self._services(environment)
        await asyncio.gather(
            *(self._begin(service.name, service) for service in services), self._begin("edge", self._envoy())
        )
        self._record()

    def _postgres(self) -> PostgresServer:
        password = self.secrets.postgres_password("voketag").read_text()
        files = PostgresFiles(self._state.data / "postgres", self._state.run, self._state.logs / "postgres.log")
        return PostgresServer(files, self.ports["postgres"], password)

    def _valkey(self) -> ValkeyServer:
        password = self.secrets.valkey_password.read_text()
        return ValkeyServer(
            self._state.data / "valkey", self.ports["valkey"], password, log=self._state.logs / "valkey.log"
        )

    def _envoy(self) -> EnvoyServer:
        ports = self.ports
        settings = EdgeSettings(
            public=Address(LOOPBACK, ports["edge"]),
            internal=Address(LOOPBACK, ports["internal"]),
            admin=Address(LOOPBACK, ports["envoy_admin"]),
            upstreams={name: Address(LOOPBACK, ports[name]) for name in ("scan", "factory", "anchor", "admin")},
            health_seconds=0.25,
            trusted_hops=self._trusted_hops,
        )
        config = self._state.run / "edge.yaml"
        write_whole(config, render(settings).encode())
        listeners = (ports["edge"], ports["internal"])
        return EnvoyServer(config, ports["envoy_admin"], log=self._state.logs / "edge.log", ports=listeners)

    def _services(self, environment: Environment) -> list[ServiceServer]:
        def process(name: str, *command: str, port: str | None) -> ServiceServer:
            settings = environment.service(command[0], port=port, metrics=f"{name.replace('-', '_')}_metrics")
            return ServiceServer(name, command, log=self._state.logs / f"{name}.log", environment=settings)

        return [
            process("scan", "scan", port="scan"),
            process("factory", "factory", port="factory"),
            process("anchor", "anchor", port="anchor"),
            process("admin", "admin", port="admin"),
            process("scan-journal", "scan", "journal", port=None),
            process("factory-worker", "factory", "work", port=None),
            process("admin-worker", "admin", "work", port=None),
            process("anchor-submitter", "anchor", "submit", port=None),
        ]

    async def _migrate(self, environment: Environment) -> None:
        postgres = self._servers["postgres"]
        assert isinstance(postgres, PostgresServer)
        await postgres.ensure_database("voketag")
        for service in SERVICES:
            role = f"voketag_{service}"
            await postgres.ensure_role(role, self.secrets.postgres_password(role).read_text())
        log, owner = self._state.logs / "migrate.log", environment.owner()
        await asyncio.gather(
            *(run_once(f"migration of {name}", (name, "migrate"), log=log, environment=owner) for name in MIGRATED)
        )

    async def _deploy(self, environment: Environment) -> None:
        """Deploys the contract unless it stands on this chain already."""
        chain = self._servers["chain"]
        assert isinstance(chain, AnvilServer)
        if environment.deployment.exists():
            contract = json.loads(environment.deployment.read_text())["contract"]
            if await chain.call("eth_getCode", contract, "latest") != "0x":
                return
        from eth_account import Account  # takes half a second, and is wanted once

        await chain.fund(Account.from_key(self.secrets.chain_key.read_text()).address, FUNDS)
        log = self._state.logs / "deploy.log"
        await run_once("deployment of the contract", ("anchor", "deploy"), log=log, environment=environment.deploy())

    async def _begin(self, name: str, server: Server) -> None:
        started = asyncio.get_running_loop().time()
        self._servers[name] = server
        await server.start()
        self._say(f"{name} is up after {asyncio.get_running_loop().time() - started:.1f} s")

    async def _keep(self, name: str) -> None:
        server = self._servers[name]
        while True:
            status = await server.child.wait()
            self._say(f"{name} ended with exit code {status}; starting it again")
            await asyncio.sleep(RESTART_SECONDS)
            await server.start()
            self._record()

    def _record(self) -> None:
        pids: Mapping[str, int | None] = {name: server.child.pid for name, server in self._servers.items()}
        self._state.write(MeshRecord(ports=self.ports, pids={name: pid for name, pid in pids.items() if pid}))

    async def _stop(self) -> None:
        """Doors first, then the services, then what they stand on."""
        stores = ("postgres", "valkey", "chain")
        for names in (("edge",), tuple(n for n in self._servers if n not in (*stores, "edge")), stores):
            await asyncio.gather(*(self._servers[name].stop() for name in names if name in self._servers))
        self._state.write(MeshRecord(ports=self.ports))
