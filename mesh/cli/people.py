"""`voketag admin`: the people that nobody can add through the service, since there is nobody yet."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from mesh.cli.connection import local_port
from mesh.cli.console import console, home
from mesh.local.environment import Environment
from mesh.local.secrets import Secrets
from mesh.local.state import StateDirectory

CREATE_SECONDS = 60


def local_settings() -> Mapping[str, str]:
    """The settings of the local mesh's admin service. Raises ClickException when none runs."""
    local_port("admin")
    state = StateDirectory(home())
    environment = Environment(
        state.read().ports, Secrets(state.secrets, os.urandom), state.data / "deployment.json", "http://localhost/"
    )
    return environment.service("admin", port=None, metrics="admin_metrics")


def make_admin(settings: Mapping[str, str], email: str, name: str, password: str) -> str:
    """The id of a new admin. Raises ClickException with what was wrong. The password goes through a pipe alone."""
    done = subprocess.run(
        (sys.executable, "-m", "admin", "create", email, name, "-"),
        env={**os.environ, **settings},
        input=password,
        capture_output=True,
        text=True,
        timeout=CREATE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise click.ClickException((done.stderr or done.stdout).strip() or "the admin was not created")
    return done.stdout.strip().splitlines()[-1]


@click.group()
def admin() -> None:
    """Make the first admin; admins add everybody else through the service."""


@admin.command()
@click.option("--email", required=True)
@click.option("--name", default="Administrator", show_default=True)
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Its first line is the password; else it is asked for.",
)
def create(email: str, name: str, password_file: Path | None) -> None:
    """Make an admin in the database of VOKETAG_DATABASE_URL; without that, in the local mesh's."""
    settings = {} if "VOKETAG_DATABASE_URL" in os.environ else local_settings()
    if password_file is None:
        password = click.prompt("Password (12 characters or more)", hide_input=True, confirmation_prompt=True)
    else:
        password = (password_file.read_text().splitlines() or [""])[0]
    console.print(f"Made the admin {email}, user {make_admin(settings, email, name, password)}.", soft_wrap=True)
