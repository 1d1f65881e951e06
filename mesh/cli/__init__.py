"""The command line, `voketag`."""

from mesh.cli.root import main

__all__ = ["main"]
