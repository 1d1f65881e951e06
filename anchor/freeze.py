"""Whether anchoring stands still, by an operator's wish."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Freeze:
    """`why` is for people, and empty while it is not frozen; `change_time` is when it began or ended."""

    frozen: bool
    why: str
    change_time: datetime
