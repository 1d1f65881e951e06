"""Whatever is done to a ledger, its audit finds and names it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.trust.ledgers import KIND, MemoryLedger, audited, edited, event, ledger, named
from trust.audit import Finding
from trust.ledger import Opening

SIZES = st.integers(1, 700)


@given(SIZES, st.lists(st.integers(0, 700), max_size=5), st.integers(1, 300))
async def test_a_ledger_that_nobody_touched_is_clean(size: int, checkpoints: list[int], page: int) -> None:
    made = ledger(size, checkpoints=checkpoints, openings=True)
    made.page = page
    report = await audited(made, kept=[made.checkpoint()])
    assert report.clean
    assert (report.size, report.rows, report.checkpoints) == (size, size, len(made.notes))
    assert report.latest == made.checkpoint()


async def test_a_ledger_without_entries() -> None:
    empty = MemoryLedger()
    assert (await audited(empty)).clean
    empty.sign()
    report = await audited(empty)
    assert report.clean
    assert report.latest is not None
    assert report.latest.size == 0
    empty.grow([event(0)])
    empty.sign()
    assert (await audited(empty, since=report.latest)).clean


@given(SIZES, st.data())
async def test_an_edited_entry_is_named(size: int, data: st.DataObject) -> None:
    made, place = ledger(size), data.draw(st.integers(0, size - 1))
    made.stored[place] = edited(made.stored[place])
    report = await audited(made)
    assert named(report) == [(KIND.ENTRY_EDITED, place, place)]
    assert report.findings[0].event_id == event(place).event_id
    assert report.complete
    assert not report.clean


@pytest.mark.parametrize("field", event(0)._fields)
async def test_no_field_can_be_edited(field: str) -> None:
    made = ledger(20)
    row = made.stored[7]
    made.stored[7] = row._replace(event=row.event._replace(**{field: getattr(made.stored[9].event, field)}))
    changed = made.stored[7].event != row.event
    assert named(await audited(made)) == ([(KIND.ENTRY_EDITED, 7, 7)] if changed else [])


@given(SIZES, st.booleans(), st.data())
async def test_a_deleted_entry_is_named(size: int, renumbered: bool, data: st.DataObject) -> None:
    made, place = ledger(size), data.draw(st.integers(0, size - 1))
    del made.stored[place]
    if renumbered:
        made.renumber()
    assert named(await audited(made)) == [(KIND.ENTRY_MISSING, place, place)]


@given(SIZES, st.booleans(), st.data())
async def test_an_inserted_entry_is_named(size: int, renumbered: bool, data: st.DataObject) -> None:
    made, place = ledger(size), data.draw(st.integers(0, size))
    new = made.stored[data.draw(st.integers(0, size - 1))].event if data.draw(st.booleans()) else event(10_000)
    made.stored.insert(place, made.stored[0]._replace(number=place, event=new))
    if renumbered:
        made.renumber()
    report = await audited(made)
    found = [finding for finding in report.findings if finding.kind is not KIND.ENTRY_RENUMBERED]
    assert [(finding.kind, finding.event_id) for finding in found] == [(KIND.ENTRY_INSERTED, new.event_id)]


@given(st.integers(2, 700), st.data())
async def test_swapped_entries_are_named(size: int, data: st.DataObject) -> None:
    made = ledger(size)
    one, other = sorted(data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True)))
    rows = made.stored
    rows[one], rows[other] = rows[one]._replace(event=rows[other].event), rows[other]._replace(event=rows[one].event)
    found = named(await audited(made))
    moved = {first for kind, first, _ in found if kind is KIND.ENTRY_MOVED}
    assert {kind for kind, _, _ in found} == {KIND.ENTRY_MOVED}
    # Two neighbours that change places are one that moved past the other.
    assert moved <= {one, other}
    assert len(moved) == (1 if other == one + 1 else 2)


@given(st.integers(3, 700), st.data())
async def test_a_moved_entry_is_named(size: int, data: st.DataObject) -> None:
    made = ledger(size)
    source, target = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    made.stored.insert(target, made.stored.pop(source))
    made.renumber()
    report = await audited(made)
    # Past a single neighbour, either of the two is the one that moved.
    [(kind, place, _)] = named(report)
    assert kind is KIND.ENTRY_MOVED
    assert place in ((source, target) if abs(source - target) == 1 else (source,))


@settings(max_examples=30)
@given(st.integers(20, 900), st.data())
async def test_many_damages_are_each_named(size: int, data: st.DataObject) -> None:
    made = ledger(size, checkpoints=[size // 2])
    places = data.draw(st.lists(st.integers(0, size // 4 - 1), min_size=1, max_size=5, unique=True))
    expected = set()
    for place in sorted(places, reverse=True):
        if data.draw(st.booleans()):
            made.stored[4 * place] = edited(made.stored[4 * place])
            expected.add((KIND.ENTRY_EDITED, 4 * place, 4 * place))
        else:
            del made.stored[4 * place]
            expected.add((KIND.ENTRY_MISSING, 4 * place, 4 * place))
    if data.draw(st.booleans()):
        made.renumber()
    assert set(named(await audited(made))) == expected


@pytest.mark.parametrize("renumbered", [False, True])
@pytest.mark.parametrize(("first", "last"), [(0, 299), (10, 699), (250, 1199), (1000, 1999)])
async def test_a_run_that_is_missing_is_one_finding(first: int, last: int, renumbered: bool) -> None:
    made = ledger(2000)
    del made.stored[first : last + 1]
    if renumbered:
        made.renumber()
    report = await audited(made)
    assert named(report) == [(KIND.ENTRY_MISSING, first, last)]
    assert report.rows == 2000 - (last - first + 1)


@given(st.integers(1, 700), st.data())
async def test_rows_that_claim_other_numbers_are_named(size: int, data: st.DataObject) -> None:
    made, first = ledger(size), data.draw(st.integers(0, size - 1))
    shift = data.draw(st.integers(1, 2000))
    made.stored[first:] = [row._replace(number=row.number + shift) for row in made.stored[first:]]
    report = await audited(made)
    expected = Finding(KIND.ENTRY_RENUMBERED, first, size - 1, f"the rows claim numbers +{shift} from their places")
    assert report.findings == (expected,)
    assert report.rows == size


async def test_a_long_gap_is_one_finding() -> None:
    made = ledger(12_000)
    del made.stored[100:11_000]
    assert named(await audited(made, limit=20_000)) == [(KIND.ENTRY_MISSING, 100, 10_999)]


@given(SIZES, st.data())
async def test_a_flipped_hash_on_level_0_is_the_tile_s_fault(size: int, data: st.DataObject) -> None:
    made, place = ledger(size), data.draw(st.integers(0, size - 1))
    made.flip(0, place // 256, place % 256)
    report = await audited(made)
    assert named(report) == [(KIND.TILE_WRONG, place // 256, place // 256)]
    assert report.findings[0].level == 0
    assert report.rows == size


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_flipped_hash_on_an_upper_level_is_named(place: int) -> None:
    made = ledger(700)
    if place < 2:
        made.flip(1, 0, place)
        report = await audited(made)
        assert [(f.kind, f.level, f.first) for f in report.findings] == [(KIND.TILE_WRONG, 1, 0)]
    else:
        del made.tiles[1, 0]
        assert [(f.kind, f.level, f.first) for f in (await audited(made)).findings] == [(KIND.TILE_WRONG, 1, 0)]


@pytest.mark.parametrize("kept", [0, 40, 8191])
async def test_a_tile_that_is_gone_or_cut_is_made_from_its_rows(kept: int) -> None:
    made = ledger(700)
    made.tiles[0, 1] = made.tiles[0, 1][:kept]
    report = await audited(made)
    assert [(f.kind, f.level, f.first) for f in report.findings] == [(KIND.TILE_WRONG, 0, 1)]
    assert report.complete
    assert report.rows == 700


async def test_a_tile_and_its_rows_gone_end_the_audit() -> None:
    made = ledger(700)
    del made.tiles[0, 1], made.stored[300]
    report = await audited(made)
    assert (KIND.TILE_WRONG, 1, 1) in named(report)
    assert not report.complete
    assert not report.clean


async def test_a_damaged_tile_and_damaged_rows_are_both_found() -> None:
    made = ledger(700)
    made.flip(0, 1, 9)
    made.stored[300] = edited(made.stored[300])
    found = named(await audited(made))
    assert (KIND.TILE_WRONG, 1, 1) in found
    assert (KIND.ENTRY_EDITED, 300, 300) in found


@pytest.mark.parametrize("pruned", [1, 255, 256, 300, 600, 700, 5000])
async def test_rows_known_to_be_gone_are_not_missed(pruned: int) -> None:
    made = ledger(700, checkpoints=[100, 300])
    del made.stored[:pruned]
    report = await audited(made, pruned=pruned)
    assert report.clean
    assert report.rows == max(700 - pruned, 0)
    assert report.first == min(pruned, 700)
    if pruned == 300:
        made.stored[5] = edited(made.stored[5])
        assert named(await audited(made, pruned=pruned)) == [(KIND.ENTRY_EDITED, 305, 305)]
        made.flip(0, 0, 3)
        assert KIND.TILE_WRONG in {finding.kind for finding in (await audited(made, pruned=pruned)).findings}


async def test_erased_personal_fields_are_no_finding_and_edited_ones_are() -> None:
    made = ledger(300, openings=True)
    made.stored[7] = made.stored[7]._replace(opening=None)
    assert (await audited(made)).clean
    kept = made.stored[8].opening
    assert kept is not None
    made.stored[8] = made.stored[8]._replace(opening=replace(kept, fields=(b"someone else", *kept.fields[1:])))
    made.stored[9] = made.stored[9]._replace(opening=Opening(b"", ()))
    report = await audited(made)
    assert named(report) == [(KIND.PERSONAL_EDITED, 8, 8), (KIND.PERSONAL_EDITED, 9, 9)]
    assert report.rows == 300


async def test_entries_that_no_checkpoint_covers_yet() -> None:
    made = ledger(300)
    made.grow([event(number) for number in range(300, 400)])
    report = await audited(made)
    assert report.clean
    assert (report.size, report.latest and report.latest.size) == (400, 300)
    made.stored[350] = edited(made.stored[350])
    assert named(await audited(made)) == [(KIND.ENTRY_EDITED, 350, 350)]


async def test_a_ruined_ledger_ends_the_audit_at_the_limit() -> None:
    made = ledger(3000)
    made.stored = [edited(row) for row in made.stored]
    report = await audited(made, limit=50)
    assert not report.complete
    assert {finding.kind for finding in report.findings} == {KIND.ENTRY_EDITED}
    assert report.findings[0].first == 0


async def test_an_event_without_an_entry_spoils_itself_only() -> None:
    made = ledger(300)
    made.stored[10] = made.stored[10]._replace(event=made.stored[10].event._replace(event_id=b"short"))
    assert named(await audited(made)) == [(KIND.ENTRY_EDITED, 10, 10)]
    made.flip(0, 0, 3)
    assert (KIND.TILE_WRONG, 0, 0) in named(await audited(made))


DAMAGES = ("edit", "delete", "copy", "swap", "renumber", "flip", "cut", "lose")


@settings(max_examples=200)
@given(SIZES, st.lists(st.tuples(st.sampled_from(DAMAGES), st.integers(0, 10_000), st.integers(0, 10_000)), max_size=6))
async def test_no_combination_of_damages_is_clean(size: int, damages: list[tuple[str, int, int]]) -> None:
    made, whole = ledger(size, checkpoints=[size // 3]), ledger(size)
    for damage, one, other in damages:
        hurt(made, damage, one, other)
    facts = [row.event for row in sorted(made.stored, key=lambda row: row.number)]
    numbers = sorted(row.number for row in made.stored)
    same = facts == [row.event for row in whole.stored] and made.tiles == whole.tiles and numbers == list(range(size))
    report = await audited(made)
    assert report.clean is same
    assert bool(report.findings) is not same


def hurt(made: MemoryLedger, damage: str, one: int, other: int) -> None:
    places = sorted(made.tiles)
    tile = places[one % len(places)]
    width = len(made.tiles[tile])
    if not made.stored:
        return
    row, another = one % len(made.stored), other % len(made.stored)
    match damage:
        case "edit":
            made.stored[row] = edited(made.stored[row])
        case "delete":
            del made.stored[row]
        case "copy":
            made.stored.insert(row, made.stored[another])
        case "swap":
            made.stored[row], made.stored[another] = made.stored[another], made.stored[row]
        case "renumber":
            made.renumber()
        case "flip" if width >= 32:
            made.flip(*tile, other % (width // 32))
        case "cut":
            made.tiles[tile] = made.tiles[tile][: other % width] if width else b""
        case "lose":
            made.tiles[tile] = b""


async def test_memory_is_flat() -> None:
    import tracemalloc

    made = ledger(20_000, checkpoints=range(0, 20_000, 100))
    made.page = 500
    peaks = []
    for stop in (2_000, 20_000):
        part = ledger(stop, checkpoints=range(0, stop, 100))
        tracemalloc.start()
        assert (await audited(part)).clean
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0] + 200_000


def test_a_finding_says_what_it_counts() -> None:
    finding = Finding(KIND.TILE_WRONG, 1, 2, "why", level=3)
    assert (finding.level, finding.event_id) == (3, None)
