"""Targets: where trees are anchored, and how many of them a tree needs."""

import re
from dataclasses import dataclass

CHAIN = "chain"
"""The one target of a service that names none."""
NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
AUTHORITY = re.compile(r"tsa(-[a-z0-9-]+)?")
"""Names of time-stamp authorities; every other name is a chain's."""
_POLICY = re.compile(r"(all|any|[1-9][0-9]? of)((?: [a-z][a-z0-9-]{0,31})+)")


class TargetUnavailableError(Exception):
    """No usable answer came: try again later."""

    kind = "unavailable"
    """As the metric voketag_anchor_faults_total calls it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A tree is anchored at all `targets`, and final when `needed` of them have it."""

    targets: tuple[str, ...] = (CHAIN,)
    needed: int = 1

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """From `all a b`, `any a b` or `2 of a b c`. Raises ValueError.

        A policy that time stamps alone could meet is refused: what is final stands on a chain, where receipts end.
        """
        if (match := _POLICY.fullmatch(text)) is None:
            raise ValueError("a policy is `all`, `any` or a number and `of`, and then names of targets")
        how, targets = match[1], tuple(match[2].split())
        needed = {"all": len(targets), "any": 1}.get(how) or int(how.split()[0])
        if len(set(targets)) < len(targets):
            raise ValueError("a policy names each target once")
        if needed > len(targets):
            raise ValueError(f"{needed} of {len(targets)} targets are not to be had")
        authorities = sum(AUTHORITY.fullmatch(target) is not None for target in targets)
        if needed <= authorities:
            raise ValueError(f"time stamps alone could meet the policy: it has to ask for more than {authorities}")
        if AUTHORITY.fullmatch(targets[0]):
            raise ValueError("a policy names a chain first, by which its windows are counted")
        return cls(targets, needed)
