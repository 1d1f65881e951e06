"""One at a time: whoever holds an advisory lock on the connection that it works with, which it loses with that."""

from hashlib import sha256

from mesh.database import Connection

BOUND = """
SELECT set_config('idle_session_timeout', $1, false),
  set_config('idle_in_transaction_session_timeout', $1, false),
  set_config('tcp_keepalives_idle', '5', false),
  set_config('tcp_keepalives_interval', '2', false),
  set_config('tcp_keepalives_count', '3', false)
"""
TRY = "SELECT pg_try_advisory_lock($1)"


def key_of(name: str) -> int:
    """The lock of that name, as PostgreSQL wants it: a bigint."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)


async def lead(connection: Connection, key: int, lease_seconds: float) -> bool:
    """Whether this connection leads from now on to its end, which comes when it idles longer than the lease.

    So that whoever hangs, or whose machine is gone, loses its connection and with it the lead. Another try by the one
    that leads holds the lock twice, which ends with the connection all the same.
    """
    await connection.execute(BOUND, f"{round(lease_seconds * 1000)}ms")
    return bool(await connection.fetchval(TRY, key))
