"""Plugins of the test suite: real servers, shared by a whole run, and databases cloned per test."""

import signal
from pathlib import Path

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.servers", "tests.meshes"]
if Path(__file__).with_name("tests").joinpath("databases.py").exists():
    pytest_plugins.append("tests.databases")

settings.register_profile(  # a busy machine is not a failure
    "voketag", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("voketag")

# A suite that a script started in the background ignores SIGINT, and every process it starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
