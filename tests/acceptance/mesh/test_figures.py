"""What happens in the mesh is in the figures some seconds later, over JSON through Envoy."""

from typing import Any
from uuid import uuid4

import pytest

from tests.acceptance.mesh.test_sessions import email, get, login, post
from tests.meshes import Mesh, wait_until

__all__ = ["email"]
pytestmark = pytest.mark.xdist_group("mesh")


def test_a_batch_its_anchor_and_its_scans_are_counted(mesh: Mesh, email: str) -> None:
    admin = login(mesh, email)["tokens"]["accessToken"]
    opened = post(mesh, "/v1/admin/factories", admin, requestId=str(uuid4()), name="Fábrica de números").json
    factory = opened["factory"]["factoryId"]
    key = post(mesh, f"/v1/admin/factories/{factory}/api-keys", admin, requestId=str(uuid4())).json["secret"]
    one, other = mesh.order(key, 2, name="Azeite 500 ml").products
    for token in (one.token, one.token, other.token):
        assert mesh.verify(token).status == 200

    def board(query: str = "") -> Any:
        return get(mesh, f"/v1/admin/dashboard{query}", admin).json

    def counted() -> bool:
        told = board(f"?factoryId={factory}")
        if "totals" not in told:
            return False
        ever, products = told["totals"]["ever"], told["products"]["products"]
        scans = [(product["productId"], product["scans"]) for product in products]
        states = {state["state"]: state["products"] for state in told["batches"]["states"]}
        return (
            (ever["scans"], ever["firstScans"], ever["reScans"]) == ("3", "2", "1")
            and scans == [(one.product_id, "2"), (other.product_id, "1")]
            and states == {"BATCH_STATE_COMPLETED": "2"}
        )

    wait_until(counted)
    everybody = board()
    assert factory in [found["factoryId"] for found in everybody["factories"]["factories"]] or (
        len(everybody["factories"]["factories"]) == 10
    )
    spent = everybody["anchoring"]["total"]
    assert min(int(spent["windows"]), int(spent["gasUsed"]), int(spent["feeWei"])) > 0
    assert "anchoring" not in board(f"?factoryId={factory}")
    assert {job["queue"] for job in everybody["jobs"]["jobs"]} >= {"factory"}
