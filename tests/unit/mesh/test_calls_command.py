"""`voketag calls` from the command line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from eth_abi.abi import encode
from web3 import Web3

from mesh.cli.calls import calls
from tests.unit.trust.vectors import load, named

VALID = named(load("receipt")["valid"])
CALLS = named(load("calls")["calls"])
FINAL = [name for name, case in VALID.items() if '"FINAL"' in case["text"]]


def run(path: Path, text: str) -> tuple[int, str]:
    path.write_text(text)
    result = CliRunner().invoke(calls, [str(path)])
    return result.exit_code, result.stdout


@pytest.mark.parametrize("name", VALID)
def test_final_receipts_are_calls_and_pending_ones_are_not_yet(tmp_path: Path, name: str) -> None:
    status, printed = run(tmp_path / "receipt.json", VALID[name]["text"])
    if name not in FINAL:
        assert (status, printed) == (3, "")
        return
    assert status == 0
    document = json.loads(printed)
    receipt = json.loads(VALID[name]["text"])
    assert (document["chain_id"], document["to"]) == (receipt["chain"]["chain_id"], receipt["chain"]["contract"])
    assert [call["step"] for call in document["calls"]] == ["product_in_batch", "batch_in_anchor", "anchor_on_chain"]
    assert [call["returns"] for call in document["calls"]] == [1, 1, receipt["chain"]["block_number"]]
    assert printed == CALLS[name]["text"] + "\n"


@pytest.mark.parametrize("name", CALLS)
def test_the_calldata_is_what_a_library_for_the_abi_makes_of_the_arguments(name: str) -> None:
    for call in json.loads(CALLS[name]["text"])["calls"]:
        types = call["function"].partition("(")[2].removesuffix(")").split(",")
        selector = bytes(Web3.keccak(text=call["function"])[:4])
        values = [
            _bytes(argument) if "bytes32" in kind else argument
            for kind, argument in zip(types, call["arguments"], strict=True)
        ]
        assert call["data"] == "0x" + (selector + encode(types, values)).hex()


def _bytes(argument: str | list[str]) -> bytes | list[bytes]:
    return [bytes.fromhex(each[2:]) for each in argument] if isinstance(argument, list) else bytes.fromhex(argument[2:])


@pytest.mark.parametrize("text", ["", "{}", "[1]", "x" * 70_000])
def test_what_is_no_receipt_is_told(tmp_path: Path, text: str) -> None:
    assert run(tmp_path / "receipt.json", text) == (2, "")
