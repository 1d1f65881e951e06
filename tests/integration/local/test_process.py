"""Children: logs, readiness, stopping, and never outliving their parent."""

import asyncio
import os
import select
import signal
import time
from pathlib import Path

import pytest

from mesh.local.errors import LocalError, StartError
from mesh.local.process import Child
from tests.integration.local.people import run

SMALL_PARENT = Path(__file__).with_name("small_parent.py")


async def _never() -> bool:
    return False


def _child(tmp_path: Path, script: str) -> Child:
    return Child("script", ["/bin/sh", "-c", script], log=tmp_path / "logs" / "script.log")


async def test_a_child_that_dies_is_noticed_at_once_with_what_it_said(tmp_path: Path) -> None:
    child = _child(tmp_path, "echo out of luck >&2; exit 3")
    await child.start()
    began = time.monotonic()
    with pytest.raises(StartError, match=r"(?s)exit code 3.*out of luck"):
        await child.wait_ready(_never, within=60)
    assert time.monotonic() - began < 10


async def test_a_child_that_never_gets_ready_is_told_from_one_that_died(tmp_path: Path) -> None:
    child = _child(tmp_path, "echo thinking; exec sleep 60")
    await child.start()
    with pytest.raises(StartError, match=r"(?s)not ready after 0.3 s.*thinking"):
        await child.wait_ready(_never, within=0.3)
    assert child.running
    await child.kill()
    assert await child.wait() == -signal.SIGKILL


async def test_only_the_last_start_is_quoted(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "script.log"
    log.parent.mkdir()
    log.write_text("an old story\n")
    child = _child(tmp_path, "exit 1")
    await child.start()
    with pytest.raises(StartError) as caught:
        await child.wait_ready(_never, within=60)
    assert "says: nothing" in str(caught.value)


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    child = Child("ghost", ["/nowhere/ghost"], log=tmp_path / "ghost.log")
    await child.start()
    with pytest.raises(StartError, match="/nowhere/ghost"):
        await child.wait_ready(_never, within=60)


async def test_a_child_deaf_to_its_signal_is_killed_after_the_grace(tmp_path: Path) -> None:
    flag = tmp_path / "deaf"
    child = _child(tmp_path, f"trap '' TERM; touch {flag}; while :; do sleep 0.05; done")
    await child.start()
    await child.wait_ready(lambda: asyncio.to_thread(flag.exists), within=60)
    await child.stop(grace=0.2)
    assert await child.wait() == -signal.SIGKILL
    await child.stop()  # a second time is no error


async def test_a_child_may_be_started_again_but_not_twice(tmp_path: Path) -> None:
    child = _child(tmp_path, "exec sleep 60")
    await child.start()
    first = child.pid
    with pytest.raises(LocalError, match=f"runs already, as pid {first}"):
        await child.start()
    await child.stop()
    assert child.pid is None
    await child.start()
    assert child.pid not in {None, first}
    await child.stop()


def _gone(pidfd: int, within: float = 20.0) -> bool:
    poll = select.poll()  # a pidfd becomes readable when its process has ended
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(within * 1000))


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_no_server_outlives_its_parent(tmp_path: Path, ending: signal.Signals) -> None:
    with run(SMALL_PARENT, tmp_path) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 3
        pidfds = [os.pidfd_open(pid) for pid in pids]
        try:
            assert not any(_gone(pidfd, within=0) for pidfd in pidfds)
            os.killpg(parent.pid, ending)  # as the terminal does with Ctrl-C
            assert all(_gone(pidfd) for pidfd in pidfds)
        finally:
            parent.kill()
            for pidfd in pidfds:
                os.close(pidfd)
