import json
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import ClientResponseError, RequestInfo
from eth_utils.crypto import keccak
from multidict import CIMultiDict, CIMultiDictProxy
from web3.exceptions import Web3RPCError
from yarl import URL

from anchor.chain import (
    ChainUnavailableError,
    NonceUsedError,
    OutOfFundsError,
    TransactionKnownError,
    TransactionRefusedError,
    UnderpricedError,
)
from anchor.contract import Deployment, anchor_registry
from anchor.evm import asking, refusal

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("already known", TransactionKnownError),
        ("transaction already imported", TransactionKnownError),
        ("AlreadyKnown", TransactionKnownError),
        ("nonce too low: next nonce 6, tx nonce 5", NonceUsedError),
        ("OldNonce", NonceUsedError),
        ("replacement transaction underpriced", UnderpricedError),
        ("transaction underpriced: tip needed 1, tip permitted 0", UnderpricedError),
        ("max fee per gas less than block base fee", UnderpricedError),
        ("Insufficient funds for gas * price + value", OutOfFundsError),
        ("Upfront cost exceeds account balance", OutOfFundsError),
        ("intrinsic gas too low", TransactionRefusedError),
    ],
)
def test_refusals_of_nodes_are_understood(said: str, meant: type[TransactionRefusedError]) -> None:
    assert type(refusal(Web3RPCError(repr({"code": -32000, "message": said})))) is meant


def test_a_nodes_url_never_leaves() -> None:
    url = URL("https://node.example/v3/a-secret-key")
    info = RequestInfo(url, "POST", CIMultiDictProxy(CIMultiDict()), url)
    with pytest.raises(ChainUnavailableError) as caught, asking():
        raise ClientResponseError(info, (), status=429)
    assert str(caught.value) == "the node answered HTTP 429"
    assert caught.value.__suppress_context__


def test_the_artifact_follows_from_the_source() -> None:
    subprocess.run([sys.executable, "tools/compile_contract.py", "--check"], cwd=ROOT, check=True)


def test_the_event_is_the_one_that_nodes_index() -> None:
    [event] = [entry for entry in anchor_registry().abi if entry.get("name") == "Anchored"]
    signature = f"Anchored({','.join(field['type'] for field in event['inputs'])})"
    assert signature == "Anchored(bytes32,uint64)"
    assert [field["indexed"] for field in event["inputs"]] == [True, False]
    assert keccak(text="blockOf(bytes32)")[:4].hex() == "7ee64074"


def test_a_deployment_is_read_as_it_was_written(tmp_path: Path) -> None:
    deployment = Deployment(31_337, "0x" + "aB" * 20)
    path = tmp_path / "new" / "contract.json"
    assert Deployment.read(path) is None
    text = deployment.write(path)
    assert Deployment.read(path) == deployment == Deployment.parse(text)


@pytest.mark.parametrize(
    "document", [[], {}, {"chain_id": "1", "contract": "0x" + "ab" * 20}, {"chain_id": 1, "contract": "0x12"}]
)
def test_what_is_no_deployment_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="a deployment is"):
        Deployment.parse(json.dumps(document))
