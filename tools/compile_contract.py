"""Compiles contracts/AnchorRegistry.vy into gen/voketag/contracts/AnchorRegistry.json.

`--check` compiles and fails when the committed file differs from the result.
"""

import json
import sys
from pathlib import Path
from typing import Any

import vyper
from vyper.compiler import compile_code
from vyper.utils import keccak256

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path("contracts", "AnchorRegistry.vy")
TARGET = Path("gen", "voketag", "contracts", "AnchorRegistry.json")


def artifact() -> dict[str, Any]:
    """What deploying and calling the contract needs.

    `deployed_code_hash` is Keccak-256 of the code at the contract's address (EXTCODEHASH). It is the same for every
    deployment, since the contract has no immutables.
    """
    text = (ROOT / SOURCE).read_text()
    formats = ["abi", "bytecode", "bytecode_runtime"]
    compiled = compile_code(text, contract_path=SOURCE, output_formats=formats)
    deployed = compiled["bytecode_runtime"]
    return {
        "contract": SOURCE.stem,
        "compiler": f"vyper {vyper.__long_version__}",
        "abi": compiled["abi"],
        "bytecode": compiled["bytecode"],
        "deployed_code_hash": "0x" + keccak256(bytes.fromhex(deployed.removeprefix("0x"))).hex(),
    }


def main() -> int:
    """Entry point."""
    text = json.dumps(artifact(), indent=2) + "\n"
    target = ROOT / TARGET
    if "--check" in sys.argv:
        if not target.exists() or target.read_text() != text:
            print(f"{TARGET} is not what {SOURCE} gives: run `make gen`")
            return 1
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
