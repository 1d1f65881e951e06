"""A submitter that must not start says why and ends; deploying is done once."""

import json
from pathlib import Path

from eth_keyfile.keyfile import create_keyfile_json

from mesh.config import DatabaseSettings
from tests.integration.anchor.processes import key_file, outcome, settings
from tests.integration.anchor.world import Ground, World
from tests.servers import free_port


async def refusal(env: dict[str, str], command: str = "submit", status: int = 1) -> str:
    found, said = await outcome("anchor", command, env=env)
    assert found == status, said
    return said


async def test_missing_settings_are_listed_in_one_message() -> None:
    said = await refusal({}, status=2)
    for name in ("DATABASE_URL", "DATABASE_PASSWORD", "CHAIN_URL", "DEPLOYMENT"):
        assert f"VOKETAG_{name}:" in said


async def test_no_signer_or_two(database: DatabaseSettings, ground: Ground, tmp_path: Path) -> None:
    env = settings(database, ground, tmp_path)
    without = {name: value for name, value in env.items() if name != "VOKETAG_CHAIN_KEY_FILE"}
    for wrong in (without, env | {"VOKETAG_SIGNER_URL": "http://127.0.0.1:1"}):
        said = await refusal(wrong, status=2)
        assert "set CHAIN_KEY_FILE, or all of SIGNER_URL, SIGNER_ADDRESS and SIGNER_TOKEN" in said
        assert "VOKETAG_:" not in said


async def test_an_encrypted_key(database: DatabaseSettings, ground: Ground, tmp_path: Path) -> None:
    env = settings(database, ground, tmp_path)
    key_file(tmp_path, json.dumps(create_keyfile_json(bytes.fromhex(ground.key), b"open it", iterations=1_000)))
    assert "is encrypted, and there is no password" in await refusal(env)
    (tmp_path / "password").write_text("open me\n")
    env["VOKETAG_CHAIN_KEY_PASSWORD_FILE"] = str(tmp_path / "password")
    said = await refusal(env)
    assert "is not what this password opens" in said
    assert "open me" not in said
    (tmp_path / "password").write_text("open it\n")
    env["VOKETAG_DEPLOYMENT"] = json.dumps({"chain_id": 1, "contract": ground.deployment.contract})
    assert "the node is on chain 31337" in await refusal(env)


async def test_no_chain(database: DatabaseSettings, ground: Ground, tmp_path: Path) -> None:
    env = settings(database, ground, tmp_path, chain_url=f"http://127.0.0.1:{free_port()}")
    assert "Cannot connect to host" in await refusal(env)


async def test_no_postgresql(database: DatabaseSettings, ground: Ground, tmp_path: Path) -> None:
    away = f"postgresql://voketag_anchor@127.0.0.1:{free_port()}/none"
    assert "PostgreSQL cannot be reached" in await refusal(settings(database, ground, tmp_path, database_url=away))


async def test_another_chain(database: DatabaseSettings, ground: Ground, tmp_path: Path) -> None:
    deployment = json.dumps({"chain_id": 1, "contract": ground.deployment.contract})
    said = await refusal(settings(database, ground, tmp_path, deployment=deployment))
    assert "the node is on chain 31337, the settings say 1" in said


async def test_no_contract(database: DatabaseSettings, ground: Ground, tmp_path: Path) -> None:
    deployment = json.dumps({"chain_id": 31_337, "contract": "0x" + "42" * 20})
    assert "there is no contract" in await refusal(settings(database, ground, tmp_path, deployment=deployment))


async def test_other_code(database: DatabaseSettings, ground: Ground, tmp_path: Path) -> None:
    await ground.rpc("anvil_setCode", ground.deployment.contract, "0x6001")
    assert "is not that of this AnchorRegistry" in await refusal(settings(database, ground, tmp_path))


async def test_a_key_that_is_not_the_submitters(database: DatabaseSettings, ground: Ground, tmp_path: Path) -> None:
    env = settings(database, ground, tmp_path)
    key_file(tmp_path, "11" * 32)
    assert f"takes roots from {ground.signer.address} alone" in await refusal(env)


async def test_a_key_that_others_can_read(database: DatabaseSettings, ground: Ground, tmp_path: Path) -> None:
    env = settings(database, ground, tmp_path)
    (tmp_path / "chain.key").chmod(0o644)
    said = await refusal(env)
    assert "open to other users" in said
    assert ground.key not in said


async def test_unfinished_transactions_of_another_contract(
    world: World, database: DatabaseSettings, tmp_path: Path
) -> None:
    await world.submit()
    world.ground.gas = 21_000  # never enough: the node refuses it
    await world.round()
    fresh = await Ground.lay(world.ground.url)
    said = await refusal(settings(database, fresh, tmp_path))
    await fresh.web3.provider.disconnect()
    assert f"transactions are unfinished for target chain, chain 31337, contract {world.chain.contract}" in said


async def test_deploying_is_done_once(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "state" / "contract.json"
    env = {
        "VOKETAG_CHAIN_URL": ground.url,
        "VOKETAG_CHAIN_KEY_FILE": str(key_file(tmp_path, ground.key)),
        "VOKETAG_CHAIN_ID": "31337",
        "VOKETAG_DEPLOYMENT_PATH": str(path),
    }
    written = []
    for _ in range(2):
        status, _said = await outcome("anchor", "deploy", env=env)
        assert status == 0
        written.append(json.loads(path.read_text()))
    assert written[0] == written[1]
    await ground.rpc("anvil_setCode", written[0]["contract"], "0x")
    status, said = await outcome("anchor", "deploy", env=env)
    assert status == 0
    anew = json.loads(path.read_text())
    assert anew != written[0]
    assert json.dumps(anew) in said
    assert "on chain 31337, the settings say 1" in await refusal(env | {"VOKETAG_CHAIN_ID": "1"}, "deploy")
