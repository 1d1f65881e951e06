"""The submitter's process, killed by SIGKILL at a step of the chain: `python -m tests.fakes.dying_submitter STEP [NTH]`."""

import os
import signal
import sys

import uvloop

from anchor.assembly import submit
from anchor.chain import Chain
from anchor.config import SubmitSettings
from mesh.config import load
from tests.fakes.chain import FaultyChain, nothing


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(chain: Chain) -> Chain:
    faulty = FaultyChain(chain)
    step, nth = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    faulty.plan(step, *[nothing] * (nth - 1), die)
    return faulty


if __name__ == "__main__":
    uvloop.run(submit(load(SubmitSettings), dying))
