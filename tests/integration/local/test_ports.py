"""Ports: free, remembered, taken and by whom."""

import os
import random
import socket
import subprocess
import sys

import pytest

from mesh.local.ports import CLAIMS_KEPT, PortPicker, PortTakenError, holder_of, is_free
from tests.integration.local.people import environment

PICKS = """
import random, sys
from mesh.local.ports import PortPicker
print(PortPicker(random.Random(int(sys.argv[1]))).pick())
"""


def test_a_picker_gives_no_port_twice() -> None:
    rng = random.Random(7)
    picker = PortPicker(rng)
    picked = [picker.pick() for _ in range(200)]
    assert len(set(picked)) == 200
    again = PortPicker(random.Random(7))
    assert again.pick(picked[0]) == picked[0]
    assert again.pick() != picked[0]


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_names_this_very_process(address: str) -> None:
    with socket.socket() as server:
        server.bind((address, 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"^port {port} is taken by pid {os.getpid()} \(.*py"):
            PortPicker(random.Random()).pick(port)
    assert is_free(port)


if os.geteuid() == 0:

    def test_a_holder_that_may_not_be_looked_at_is_told_by_its_user() -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            port = server.getsockname()[1]
            script = (
                "import os, sys; from mesh.local.ports import holder_of\n"
                "os.setgroups([]); os.setresgid(12345, 12345, 12345); os.setresuid(12345, 12345, 12345)\n"
                "print(holder_of(int(sys.argv[1])))"
            )
            command = [sys.executable, "-c", script, str(port)]
            said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stdout
            assert said == "a process of user id 0, whose details this user may not read\n"


def test_a_port_bound_but_not_listened_on_has_no_known_holder() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert "does not listen" in holder_of(port)


def test_what_one_picker_gave_no_other_gives_until_it_ends() -> None:
    seed = random.SystemRandom().getrandbits(64)
    first = PortPicker(random.Random(seed))
    port = first.pick()
    assert is_free(port)  # for its own server
    assert PortPicker(random.Random(seed)).pick() != port
    command = [sys.executable, "-c", PICKS, str(seed)]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stdout
    assert int(elsewhere) != port
    del first
    assert PortPicker(random.Random(seed)).pick() == port


def test_a_picker_that_has_picked_a_lot_lets_its_first_ports_go() -> None:
    seed = random.SystemRandom().getrandbits(64)
    picker = PortPicker(random.Random(seed))
    first = picker.pick()
    for _ in range(CLAIMS_KEPT):
        assert picker.pick() != first
    assert PortPicker(random.Random(seed)).pick() == first
