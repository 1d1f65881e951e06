"""A time-stamp authority with two stampers, and what may happen to them and to it."""

import asyncio
from typing import ClassVar

from prometheus_client import CollectorRegistry

from anchor.authority import Authority
from anchor.evidence import TimeStamp
from anchor.metrics import Metrics
from anchor.stamp_journal import StampJournal
from anchor.stamper import Stamper
from anchor.submission import Location
from anchor.target import TargetUnavailableError
from anchor.target_journal import LeaseLostError
from anchor.window import WindowPolicy, Windows
from mesh.clock import SystemClock, new_id
from mesh.timestamps import Authorities
from tests.fakes.time_stamp_authority import TimeStampAuthority
from tests.integration.anchor.site import Course, Died, Events, Frail
from tests.integration.anchor.test_time_stamps import FAULTS, mend

TARGET = "tsa"


class FrailStampJournal(Frail, StampJournal):
    """A stamper's."""


class StamperProcess:
    """A stamper that goes round by round, under the fence that it once had."""

    def __init__(self, course: Course, authority: Authority) -> None:
        self.fence = 0
        self.journal = FrailStampJournal(course.pool, TARGET)
        windows = Windows(self.journal, WindowPolicy(0, 1000, targets=course.policy))
        self.stamper = Stamper(self.journal, windows, authority, Metrics(CollectorRegistry()))


class Office:
    """The target `tsa`."""

    target = TARGET

    def __init__(self, course: Course, server: TimeStampAuthority) -> None:
        self._course = course
        self._server = server
        self._trusted = Authorities.from_pem(server.certificates)
        self._authority = Authority(server.url, self._trusted, SystemClock(), timeout_seconds=10)
        self._stampers = [self._start(), self._start()]

    def _start(self) -> StamperProcess:
        return StamperProcess(self._course, self._authority)

    async def begin(self) -> None:
        """An authority that answers."""
        await self._mend()

    async def happen(self) -> None:
        """Something does."""
        await self._course.befall(self, self.target, self.EVENTS)

    async def restart(self) -> None:
        """A healthy stamper, and an authority that answers."""
        await self._mend()
        self._stampers[0] = self._start()

    async def turn(self) -> None:
        """One look of the healthy one."""
        await self._round(self._stampers[0])

    async def check(self, root: bytes, proof: Location | TimeStamp) -> None:
        """A tree has the authority's stamp."""
        assert isinstance(proof, TimeStamp)
        assert self._trusted.check(proof.response, root) == proof.time

    async def end(self) -> None:
        """Nothing is kept but stamps of trees that owe one; each was checked by itself."""
        rows = await self._course.pool.fetch("SELECT state, evidence FROM stamps WHERE target = $1", TARGET)
        assert rows
        assert all(row["state"] == "final" and row["evidence"] for row in rows)

    async def _round(self, stamper: StamperProcess) -> None:
        if not stamper.fence:
            stamper.fence = await stamper.journal.acquire(new_id(), 1000) or 0
            if not stamper.fence:
                return
        try:
            await stamper.stamper.round(stamper.fence)
        except LeaseLostError:
            stamper.fence = 0
        except TargetUnavailableError:
            pass
        except Died:
            self._stampers = [self._start() if each is stamper else each for each in self._stampers]
            if self._course.random.random() < 0.7:
                await self._course.expire()

    async def _look(self) -> None:
        await self._round(self._course.random.choice(self._stampers))

    async def _look_both(self) -> None:
        """One of them may think that it still has the lease."""
        await asyncio.gather(*map(self._round, list(self._stampers)))

    async def _crash(self) -> None:
        stamper = self._course.random.choice(self._stampers)
        stamper.journal.dies = self._course.random.choice(("before", "within", "after"))
        await self._round(stamper)

    async def _usurp(self) -> None:
        """While one waits for the authority's answer, the lease goes to the other, which asks as well."""
        one, other = self._course.random.sample(self._stampers, 2)
        await self._round(one)
        await self._course.expire()
        other.fence = 0
        await asyncio.gather(self._round(one), self._round(other))

    async def _fail(self) -> None:
        """The authority is away, or answers what must not be kept, until it is mended."""
        await self._mend()
        self._course.random.choice(FAULTS)[0](self._server)

    async def _mend(self) -> None:
        mend(self._server)

    EVENTS: ClassVar[Events["Office"]] = (
        (_look, 8),
        (_look_both, 3),
        (_crash, 5),
        (_usurp, 3),
        (_fail, 5),
        (_mend, 5),
    )
