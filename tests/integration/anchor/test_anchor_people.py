"""People at the anchor service: admins stand it still, auditors and support look on, the rows say who did what."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from voketag.anchor.v1 import anchor_pb2 as pb

from mesh.clock import new_id
from mesh.user_tokens import ROLES
from tests.fakes.people import OLD_KEY, SOMEBODY, access_token, forged_hmac, raw_public
from tests.integration.anchor.doors import failing
from tests.integration.anchor.world import World
from tests.refusals import refusals

READERS = {"admin", "auditor", "support"}


def bearer(role: str = "admin", **changes: Any) -> dict[str, Any]:
    return {"metadata": (("authorization", f"Bearer {access_token(role, **changes)}"),)}


def freeze(why: str = "the key may be lost") -> pb.FreezeAnchoringRequest:
    return pb.FreezeAnchoringRequest(request_id=str(uuid4()), why=why)


def resume() -> pb.ResumeAnchoringRequest:
    return pb.ResumeAnchoringRequest(request_id=str(uuid4()))


async def changes(world: World) -> list[Mapping[str, Any]]:
    """The rows of what people changed, oldest first."""
    rows = await world.pool.fetch("SELECT * FROM audit WHERE result = 'OK' AND actor_kind = 'user' ORDER BY position")
    return [dict(row) for row in rows]


async def test_an_admin_stands_anchoring_still_and_lets_it_go_on(world: World, public: Any) -> None:
    asked = freeze()
    frozen = (await public.FreezeAnchoring(asked, **bearer())).freeze
    assert (frozen.frozen, frozen.why) == (True, "the key may be lost")
    assert (await public.FreezeAnchoring(asked, **bearer())).freeze == frozen
    [submission] = await world.submit()
    await world.round()
    assert await world.states() == []
    for role in READERS:
        told = await public.GetStatus(pb.GetStatusRequest(), **bearer(role))
        assert (told.freeze, told.pending_roots) == (frozen, 1)
    assert not (await public.ResumeAnchoring(resume(), **bearer())).freeze.frozen
    await world.reach("final")
    await world.assert_anchored_once([submission])
    first, second = await changes(world)
    for row, method in ((first, "FreezeAnchoring"), (second, "ResumeAnchoring")):
        assert (row["actor_id"], row["actor_role"], row["resource"]) == (SOMEBODY, "admin", "anchoring/all")
        assert row["method"].endswith(f"/{method}")
    assert first["request_id"] == UUID(asked.request_id)
    assert json.loads(first["detail"]) == {
        "frozen": {"before": False, "after": True},
        "why": {"before": "", "after": "the key may be lost"},
    }


async def test_an_admin_hurries_a_root(world: World, public: Any) -> None:
    world.configure(window_seconds=1000)
    [submission] = await world.submit()
    await world.round()
    assert await world.states() == []
    asked = pb.RetryAnchorRequest(request_id=str(uuid4()), batch_id=str(submission.subject_id))
    assert (await public.RetryAnchor(asked, **bearer())).anchor.state == pb.ANCHOR_STATE_PENDING
    await world.reach("final")
    (row,) = await changes(world)
    assert (row["actor_id"], row["resource"]) == (SOMEBODY, f"anchor/{submission.subject_id}")
    asked.request_id = str(uuid4())
    assert await failing(public.RetryAnchor(asked, **bearer())) == "ANCHOR_STATE_CONFLICT"


@pytest.mark.parametrize("role", sorted(ROLES - {"admin"}))
async def test_nobody_else_changes_anything_and_some_read(world: World, public: Any, role: str) -> None:
    [submission] = await world.submit()
    retry = pb.RetryAnchorRequest(request_id=str(uuid4()), batch_id=str(submission.subject_id))
    for call in (
        public.FreezeAnchoring(freeze(), **bearer(role)),
        public.ResumeAnchoring(resume(), **bearer(role)),
        public.RetryAnchor(retry, **bearer(role)),
    ):
        assert await failing(call) == "ACCESS_DENIED"
    assert not (await world.store.freeze()).frozen
    assert await changes(world) == []
    assert {(row.role, row.result) for row in await refusals(world.pool, "anchor", SOMEBODY)} == {
        (role, "ACCESS_DENIED")
    }
    for call in (
        public.GetStatus(pb.GetStatusRequest(), **bearer(role)),
        public.ListAnchors(pb.ListAnchorsRequest(), **bearer(role)),
    ):
        if role in READERS:
            await call
        else:
            assert await failing(call) == "ACCESS_DENIED"


async def test_what_services_alone_may_do_no_person_does(world: World, public: Any) -> None:
    root = pb.SubmitRootRequest(request_id=str(uuid4()), batch_id=str(new_id()), root=b"r" * 32, size=1)
    offer = pb.RootOffer(batch_id=root.batch_id, root=root.root, size=1)
    many = pb.BatchSubmitRootsRequest(request_id=str(uuid4()), roots=[offer])
    for call, asked in ((public.SubmitRoot, root), (public.BatchSubmitRoots, many)):
        assert await failing(call(asked, **bearer())) == "ACCESS_DENIED"
    assert await world.pool.fetchval("SELECT count(*) FROM submissions") == 0


async def test_a_page_token_and_a_request_id_are_one_person_s_own(world: World, public: Any) -> None:
    other = bearer(sub=str(uuid4()))
    await world.submit(3)
    page = await public.ListAnchors(pb.ListAnchorsRequest(page_size=2), **bearer())
    rest = pb.ListAnchorsRequest(page_size=2, page_token=page.next_page_token)
    assert await failing(public.ListAnchors(rest, **other)) == "PAGE_TOKEN_INVALID"
    assert len((await public.ListAnchors(rest, **bearer())).anchors) == 1
    asked = freeze()
    await public.FreezeAnchoring(asked, **bearer())
    await public.ResumeAnchoring(resume(), **bearer())
    assert not (await public.FreezeAnchoring(asked, **bearer())).freeze.frozen, "the first answer was lost"
    assert (await public.FreezeAnchoring(asked, **other)).freeze.frozen
    asked.why = "another"
    assert await failing(public.FreezeAnchoring(asked, **other)) == "REQUEST_ID_REUSED"


async def test_wrong_tokens_and_wrong_words(world: World, public: Any) -> None:
    for token in (
        access_token(at=datetime.now(UTC) - timedelta(hours=1)),
        access_token(aud="anchor"),
        access_token(alg="none", key=""),
        access_token(kid="user-1"),
        access_token("root"),
        forged_hmac(access_token(), raw_public(OLD_KEY)),
        "abc",
    ):
        metadata = (("authorization", f"Bearer {token}"),)
        assert await failing(public.FreezeAnchoring(freeze(), metadata=metadata)) == "CREDENTIALS_INVALID"
    assert await failing(public.FreezeAnchoring(freeze())) == "CREDENTIALS_MISSING"
    for wrong in (freeze(""), freeze("x" * 501), pb.FreezeAnchoringRequest(request_id="x", why="x")):
        assert await failing(public.FreezeAnchoring(wrong, **bearer())) == "VALIDATION_FAILED"
    assert not (await world.store.freeze()).frozen
    assert await changes(world) == []
