"""`python -m scan journal` that SIGKILL ends at a step of its NTH checkpoint: `python -m ... STEP NTH`.

The steps, in their order: signed (kept nowhere), stored, accepted (by Anchor; nobody noted it), noted.
"""

import os
import signal
import sys
from datetime import datetime
from typing import Any

import uvloop

from mesh.config import load
from mesh.ledger import Ledger
from scan import writing
from scan.config import JournalSettings
from scan.judging import Judging
from scan.peers import AnchorPeer
from trust.checkpoint import Checkpoint

STEPS = ("signed", "stored", "accepted", "noted")


class Dying:
    """Counts how often each step was reached."""

    def __init__(self, step: str, nth: int) -> None:
        self._step = step
        self._left = nth

    def at(self, step: str) -> None:
        self._left -= step == self._step
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def install(dying: Dying) -> None:
    class DyingLedger(Ledger):
        async def sign(self, connection: Any, signer: Any, now: datetime) -> Checkpoint | None:
            class DyingSigner:
                verifier = signer.verifier

                def sign(self, text: bytes) -> Any:
                    signature = signer.sign(text)
                    dying.at("signed")
                    return signature

            made: Any = DyingSigner()
            checkpoint = await super().sign(connection, made, now)
            if checkpoint:
                dying.at("stored")
            return checkpoint

        async def submitted(self, connection: Any, checkpoint: Checkpoint, now: datetime) -> None:
            await super().submitted(connection, checkpoint, now)
            dying.at("noted")

    class DyingPeer(AnchorPeer):
        async def submit(self, checkpoint: Checkpoint) -> None:
            await super().submit(checkpoint)
            dying.at("accepted")

    vars(writing).update(Ledger=DyingLedger, AnchorPeer=DyingPeer)


if __name__ == "__main__":
    install(Dying(sys.argv[1], int(sys.argv[2])))
    settings = load(JournalSettings)
    uvloop.run(writing.journal(settings, Ledger(settings.ledger_origin), Judging(settings.weights)))
