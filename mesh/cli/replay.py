"""`voketag replay`: past scans under other weights."""

import click

from mesh.cli.processes import become


@click.command()
@click.option("--from", "since", required=True, metavar="TIME", help="ISO 8601; UTC unless it says otherwise.")
@click.option("--to", "until", required=True, metavar="TIME", help="The first moment that is left out.")
@click.option("--weights", required=True, metavar="FILE", help="JSON of the weights that differ from the defaults.")
@click.option("--factory", metavar="UUID", help="Only scans of this factory's products.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def replay(since: str, until: str, weights: str, factory: str | None, *, as_json: bool) -> None:
    """Judge the scans of a span of time anew under other weights, and tell how verdicts and totals would move.

    Reads the database with the settings of `python -m scan`, and writes nothing. Exit status: 0, or 2 if it could not.
    """
    options = ["--factory", factory] if factory else []
    options += ["--json"] if as_json else []
    become("scan", "replay", "--from", since, "--to", until, "--weights", weights, *options)
