"""Plugins of the test suite: real servers, shared by a whole run, and databases cloned per test."""

from pathlib import Path

pytest_plugins = ["tests.servers"]
if Path(__file__).with_name("tests").joinpath("databases.py").exists():
    pytest_plugins.append("tests.databases")
