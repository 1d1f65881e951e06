"""The compiled contract, and where it is deployed."""

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

ADDRESS = re.compile("0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract: its interface, the code that creates it, and Keccak-256 of the code that then stands."""

    abi: list[Any]
    bytecode: str
    deployed_code_hash: bytes


@cache
def anchor_registry() -> Artifact:
    """The artifact that `tools/compile_contract.py` made of contracts/AnchorRegistry.vy."""
    text = files("voketag").joinpath("contracts/AnchorRegistry.json").read_text()
    document = json.loads(text)
    code_hash = bytes.fromhex(document["deployed_code_hash"].removeprefix("0x"))
    return Artifact(document["abi"], document["bytecode"], code_hash)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the contract stands: EIP-155 chain id, address (0x and 40 hex digits, EIP-55)."""

    chain_id: int
    contract: str

    @classmethod
    def parse(cls, text: str) -> "Deployment":
        """From JSON, `{"chain_id": 1, "contract": "0x…"}`. Raises ValueError."""
        document = json.loads(text)
        match document:
            case {"chain_id": int(chain_id), "contract": str(contract)} if ADDRESS.fullmatch(contract):
                return cls(chain_id, contract)
        raise ValueError("a deployment is a JSON object of chain_id, a number, and contract, an address")

    @classmethod
    def read(cls, path: Path) -> "Deployment | None":
        """From a file; None when there is none. Raises ValueError."""
        return cls.parse(path.read_text()) if path.exists() else None

    def write(self, path: Path) -> str:
        """Puts the JSON in place of the file, whole, and gives it."""
        text = json.dumps({"chain_id": self.chain_id, "contract": self.contract})
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(text + "\n")
        fresh.replace(path)
        return text
