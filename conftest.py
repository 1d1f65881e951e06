"""Plugins of the test suite: real servers, shared by a whole run, and databases cloned per test."""

from pathlib import Path

from hypothesis import settings

pytest_plugins = ["tests.servers", "tests.meshes"]
if Path(__file__).with_name("tests").joinpath("databases.py").exists():
    pytest_plugins.append("tests.databases")

settings.register_profile("voketag", deadline=None)  # a busy machine is not a failure
settings.load_profile("voketag")
