"""The state directory: one mesh at a time, a record that is whole."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.local.errors import LocalError
from mesh.local.state import MeshRecord, MeshRunningError, StateDirectory
from tests.integration.local.people import environment

HOLDER = """
import sys
from pathlib import Path
from mesh.local.state import StateDirectory
with StateDirectory(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_record_is_kept(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / ".voketag")
    state.make()
    assert state.read() == MeshRecord()
    record = MeshRecord(ports={"postgres": 20_001}, pids={"postgres": 7})
    state.write(record)
    assert StateDirectory(tmp_path / ".voketag").read() == record
    assert {path.stat().st_mode & 0o777 for path in (state.folder, state.data, state.run, state.secrets)} == {0o700}


def test_a_record_that_is_not_ours_is_named(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    (tmp_path / "mesh.json").write_text('{"port')
    with pytest.raises(LocalError, match=r"mesh\.json cannot be read"):
        state.read()
    (tmp_path / "mesh.json").write_text('{"other": 1}')
    with pytest.raises(LocalError, match=r"mesh\.json cannot be read"):
        state.read()


def test_a_second_mesh_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.holder() is None
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment()) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "held\n"
            assert state.holder() == other.pid
            with pytest.raises(MeshRunningError, match=f"started by pid {other.pid};") as caught, state.locked():
                pass
            assert caught.value.pid == other.pid
        finally:
            other.send_signal(signal.SIGKILL)
    assert state.holder() is None
    with state.locked():
        assert state.holder() == os.getpid()
    assert state.holder() is None
