"""`voketag worker`, `migrate` and `chain deploy`: the services' own commands, under one roof."""

import os
import sys

import click

SERVICES = ("factory", "scan", "anchor", "admin")
WORKERS = {"factory": "work", "scan": "journal", "anchor": "submit", "admin": "work"}


def become(*command: str) -> None:
    """Replaces this process by `python -m <command>`, whose exit status is then ours."""
    os.execv(sys.executable, (sys.executable, "-m", *command))  # noqa: S606


@click.command()
@click.argument("service", type=click.Choice(sorted(WORKERS)))
def worker(service: str) -> None:
    """Run the worker of a service: factory's jobs, the journal of scans, anchor's submitter, or the maker of files."""
    become(service, WORKERS[service])


@click.command()
@click.argument("service", type=click.Choice(SERVICES))
def migrate(service: str) -> None:
    """Bring the schema of a service up to date, as the database's owner."""
    become(service, "migrate")


@click.group()
def chain() -> None:
    """The chain that roots are anchored on."""


@chain.command()
def deploy() -> None:
    """Deploy the anchor contract with the submitter's key, unless it stands already."""
    become("anchor", "deploy")
