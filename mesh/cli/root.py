"""The root command. Commands are loaded when they are called, so that `verify` needs no service installed."""

import importlib
from keyword import iskeyword
from typing import ClassVar

import click


class Lazy(click.Group):
    """A group whose commands live each in a module of its own."""

    modules: ClassVar[dict[str, str]] = {
        "demo": "mesh.cli.demo",
        "up": "mesh.cli.up",
        "down": "mesh.cli.up",
        "status": "mesh.cli.up",
        "order": "mesh.cli.order",
        "import": "mesh.cli.tables",
        "export": "mesh.cli.tables",
        "labels": "mesh.cli.labels",
        "products": "mesh.cli.lifecycle",
        "webhook": "mesh.cli.webhooks",
        "factory": "mesh.cli.accounts",
        "admin": "mesh.cli.people",
        "verify": "mesh.cli.verify",
        "audit-ledger": "mesh.cli.ledger",
        "audit-log": "mesh.cli.audit_log",
        "replay": "mesh.cli.replay",
        "calls": "mesh.cli.calls",
        "chain": "mesh.cli.processes",
        "migrate": "mesh.cli.processes",
        "worker": "mesh.cli.processes",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer needs them."""
        del ctx
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded now."""
        del ctx
        if cmd_name not in self.modules:
            return None
        try:
            module = importlib.import_module(self.modules[cmd_name])
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"`voketag {cmd_name}` needs the package {error.name}: pip install 'voketag[service,local]'"
            ) from error
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(module, f"{name}_" if iskeyword(name) else name)
        return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="voketag")
def main() -> None:
    """VokeTag: signed product tags, anchored batches, and a verdict for whoever scans.

    Begin with `voketag demo`. State lives in ./.voketag, or where VOKETAG_HOME says.
    """
