"""The submitter's process, killed by SIGKILL at the NTH time of a chain's step: `python -m … STEP NTH`."""

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
    faulty.plan(sys.argv[1], *[nothing] * (int(sys.argv[2]) - 1), die)
    return faulty


if __name__ == "__main__":
    uvloop.run(submit(load(SubmitSettings), dying))
