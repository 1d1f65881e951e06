"""`python -m mesh.cli`, the same as `voketag`."""

from mesh.cli.root import main

main(prog_name="voketag")
