"""Whoever signs, cuts or forks a ledger is held to the checkpoints that others kept."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.trust.ledgers import KIND, ORIGIN, SIGNER, MemoryLedger, audited, edited, ledger, named
from trust.audit import Report
from trust.checkpoint import Checkpoint, sign_checkpoint
from trust.note import Signer


def rewritten(size: int, checkpoints: list[int], place: int) -> MemoryLedger:
    """A ledger whose rows and tiles were made anew with another entry at `place`, by someone without the key."""
    made, other = ledger(size, checkpoints=checkpoints), MemoryLedger()
    rows = list(made.stored)
    rows[place] = edited(rows[place])
    other.grow([row.event for row in rows])
    other.notes = made.notes
    return other


@given(st.integers(1, 600), st.data())
async def test_a_rewritten_history_fits_no_later_checkpoint(size: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, size - 1))
    checkpoints = sorted({*data.draw(st.lists(st.integers(1, size), max_size=5)), size})
    report = await audited(rewritten(size, checkpoints, place))
    wrong = [each for each in checkpoints if each > place]
    assert named(report) == [(KIND.CHECKPOINT_WRONG, wrong[0], wrong[-1])]
    fitting = max([each for each in checkpoints if each <= place], default=0)
    assert f"the last that fits is of {fitting} entries" in report.findings[0].detail
    assert (report.latest.size if report.latest else 0) == fitting


@given(st.integers(1, 600), st.data())
async def test_a_fork_signed_with_the_key_is_found_by_a_kept_checkpoint(size: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, size - 1))
    known = data.draw(st.integers(1, size))
    honest, forked = ledger(known), rewritten(size, [], place)
    forked.notes = [sign_checkpoint(forked.checkpoint(), SIGNER)]
    expected = [(KIND.FORKED, known, known)] if place < known else []
    assert named(await audited(forked, kept=[honest.checkpoint()])) == expected
    assert (await audited(forked)).clean
    incremental = await audited(forked, since=honest.checkpoint())
    assert named(incremental)[: len(expected)] == expected
    assert bool(incremental.findings) == bool(expected)


@given(st.integers(1, 600), st.integers(1, 600))
async def test_a_ledger_cut_behind_a_checkpoint_is_found(size: int, more: int) -> None:
    made, longer = ledger(size), ledger(size + more)
    made.notes += longer.notes
    assert named(await audited(made)) == [(KIND.CHECKPOINT_AHEAD, size + more, size + more)]
    report = await audited(ledger(size), since=longer.checkpoint())
    assert named(report) == [(KIND.CHECKPOINT_AHEAD, size + more, size + more)]
    assert not report.complete


@pytest.mark.parametrize("since", [1, 100, 255, 256, 257, 512, 700])
@pytest.mark.parametrize("damage", ["none", "before", "after", "tile", "upper"])
async def test_an_incremental_audit_looks_at_what_is_new(since: int, damage: str) -> None:
    made, trusted = ledger(700, checkpoints=[100, 600]), ledger(since).checkpoint()
    expected = {"none": [], "before": [], "after": [(KIND.ENTRY_EDITED, 699, 699)]}.get(damage, [])
    if damage in ("before", "after"):
        place = 0 if damage == "before" else 699
        made.stored[place] = edited(made.stored[place])
    elif damage == "tile":
        made.flip(0, 2, 187)
        expected = [(KIND.TILE_WRONG, 2, 2)]
    elif damage == "upper":
        made.flip(1, 0, 0)
        expected = [(KIND.FORKED if since >= 256 else KIND.TILE_WRONG, since if since >= 256 else 0, since)]
    report = await audited(made, since=trusted)
    if since == 700:
        assert report.findings == () or damage in ("upper", "tile")
    elif damage == "upper":
        assert report.findings[0].kind is expected[0][0]
    else:
        assert named(report) == expected
        assert report.rows == 700 - since - len([1 for kind, _, _ in expected if kind is KIND.ENTRY_EDITED])
    assert report.first == since


async def test_an_incremental_audit_reads_few_tiles() -> None:
    made = ledger(5000)
    await audited(made, since=ledger(4900).checkpoint())
    assert made.tiles_read < 10


async def test_an_incremental_audit_needs_its_edge() -> None:
    made = ledger(700)
    trusted = ledger(600).checkpoint()
    made.tiles[0, 2] = made.tiles[0, 2][:32]
    report = await audited(made, since=trusted)
    assert named(report) == [(KIND.FORKED, 600, 600)]
    assert not report.complete


async def test_the_last_tile_before_a_trusted_checkpoint_is_checked() -> None:
    made = ledger(700)
    made.flip(0, 1, 255)
    report = await audited(made, since=ledger(512).checkpoint())
    assert named(report)[0] == (KIND.TILE_WRONG, 1, 1)


def stranger(size: int) -> bytes:
    signer = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    return sign_checkpoint(Checkpoint(ORIGIN, size, bytes(32)), signer)


async def test_checkpoints_that_do_not_count_are_named() -> None:
    made = ledger(600, checkpoints=[100, 200, 300])
    made.notes[1:1] = [stranger(150), sign_checkpoint(Checkpoint(ORIGIN, 100, bytes(32)), SIGNER)]
    report = await audited(made)
    assert named(report) == [(KIND.CHECKPOINT_REFUSED, 1, 1), (KIND.CHECKPOINT_DISORDERED, 2, 2)]
    assert report.checkpoints == 6
    made = ledger(600, checkpoints=[100, 200, 300])
    made.notes[2] = sign_checkpoint(Checkpoint(ORIGIN, 300, bytes(32)), SIGNER)
    assert named(await audited(made)) == [(KIND.CHECKPOINT_WRONG, 300, 300)]


@settings(max_examples=50)
@given(st.data())
async def test_any_bit_of_a_stored_checkpoint_counts(data: st.DataObject) -> None:
    made = ledger(300, checkpoints=[100])
    note = bytearray(made.notes[0])
    bit = data.draw(st.integers(0, 8 * len(note) - 1))
    note[bit // 8] ^= 1 << bit % 8
    made.notes[0] = bytes(note)
    report = await audited_in_order(made)
    assert [finding.kind for finding in report.findings] == [KIND.CHECKPOINT_REFUSED]


async def audited_in_order(made: MemoryLedger) -> Report:
    """Audits with the notes as they are, since a damaged one may have no size to select by."""

    class Whole(MemoryLedger):
        async def checkpoints(self, first: int):  # type: ignore[no-untyped-def]
            for note in made.notes:
                yield note

    whole = Whole()
    whole.state, whole.stored, whole.tiles = made.state, made.stored, made.tiles
    return await audited(whole)


async def test_refused_checkpoints_without_end_do_not_fill_the_memory() -> None:
    made = ledger(300)
    made.notes = [note for number in range(500) for note in (stranger(number + 1), b"%d\n1\n" % number)]
    report = await audited(made, limit=20)
    assert len(report.findings) <= 21
    assert not report.complete
