from uuid import UUID

import pytest

from anchor.submission import Submission
from anchor.target_journal import FIRST, Waiting
from anchor.window import WindowPolicy, leaf, plant
from trust.canonical import SubjectKind
from trust.merkle import root, verify_inclusion
from trust.tiles import inclusion_path_from_tiles


def submissions(count: int) -> list[Submission]:
    return [Submission(SubjectKind.BATCH, UUID(int=i), i.to_bytes(32, "big"), i + 1) for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 513])
def test_the_tree_is_that_of_the_leaves_and_its_tiles_prove_each(count: int) -> None:
    given = submissions(count)
    top, tiles = plant(given)
    assert top == root([leaf(each) for each in given])
    read = {(tile.level, tile.index): tile.hashes for tile in tiles}
    for index in {0, count // 2, count - 1}:
        path = inclusion_path_from_tiles(index, count, lambda level, number: read[level, number])
        assert verify_inclusion(leaf(given[index]), index, count, path, top)


def test_a_leaf_binds_everything_about_a_submission() -> None:
    one = Submission(SubjectKind.BATCH, UUID(int=1), bytes(32), 5)
    others = [
        Submission(SubjectKind.SCAN_LEDGER, UUID(int=1), bytes(32), 5),
        Submission(SubjectKind.BATCH, UUID(int=2), bytes(32), 5),
        Submission(SubjectKind.BATCH, UUID(int=1), b"\x01" + bytes(31), 5),
        Submission(SubjectKind.BATCH, UUID(int=1), bytes(32), 6),
    ]
    assert len({leaf(each) for each in [one, *others]}) == 5


@pytest.mark.parametrize(
    ("waiting", "due"),
    [
        (Waiting(59.9, 9, urgent=False, oldest=FIRST), False),
        (Waiting(60.0, 1, urgent=False, oldest=FIRST), True),
        (Waiting(0.0, 10, urgent=False, oldest=FIRST), True),
        (Waiting(0.0, 1, urgent=True, oldest=FIRST), True),
    ],
)
def test_a_window_is_due_by_time_or_number_or_urgency(waiting: Waiting, due: bool) -> None:
    assert WindowPolicy(60, 10).due(waiting) is due
