"""Writes docs/access.md: who may call which method, out of the access options of the contract.

`--check` fails when the file differs from what it would write.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from voketag.mesh.v1 import access_pb2

from mesh.contract import Method, methods

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "access.md"
HEAD = """# Who may call what

Written by `make gen` from the access options in proto/. The interceptors and the edge read the same options.
Service-only methods are not reachable through the public edge.

| method | JSON | callers | peers | roles | budget | audited |
|---|---|---|---|---|---|---|
"""


def callers(method: Method) -> str:
    """`public`, `factory`, `service` or `user`; one of several is enough."""
    values = access_pb2.Audience.DESCRIPTOR.values_by_number
    names = (values[audience].name for audience in sorted(method.policy.audiences))
    return ", ".join(name.removeprefix("AUDIENCE_").lower() for name in names)


def rows() -> Iterator[str]:
    """A row of the table for each method."""
    for method in methods():
        policy = method.policy
        path = f"`{method.verb.upper()} {method.path}`" if method.path else "–"
        peers = ", ".join(sorted(policy.peers)) or "–"
        roles = ", ".join(sorted(policy.roles)) or "–"
        audited = "yes" if policy.audited else "no"
        cells = (f"`{policy.method[1:]}`", path, callers(method), peers, roles, policy.rate_class.lower(), audited)
        yield f"| {' | '.join(cells)} |\n"


def main() -> int:
    """Entry point."""
    text = HEAD + "".join(rows())
    if "--check" not in sys.argv:
        TARGET.write_text(text)
    elif not TARGET.exists() or TARGET.read_text() != text:
        print(f"{TARGET.relative_to(ROOT)} is not what proto/ gives: run `make gen`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
