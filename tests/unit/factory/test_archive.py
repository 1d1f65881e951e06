"""Archives as zipfile and Info-ZIP's rules read them, at any number of files."""

import io
import random
import tracemalloc
import zipfile
from datetime import UTC, datetime

import pytest

from factory.archive import Archive

MOMENT = datetime(2026, 11, 22, 23, 5, 42, tzinfo=UTC)


def name(number: int) -> str:
    return f"{number:07d}.svg"


@pytest.mark.parametrize("count", [0, 1, 3, 65_535, 65_536, 70_000])
def test_archive_is_whole(count: int) -> None:
    archive, file = Archive(MOMENT, name=name), io.BytesIO()
    contents = [b"", b"<svg/>" * 50, random.Random(1).randbytes(300)]
    for number in range(count):
        file.write(archive.add(contents[number % 3]))
    for part in archive.close():
        file.write(part)
    with zipfile.ZipFile(file) as opened:
        assert opened.namelist() == [name(number) for number in range(count)]
        assert opened.testzip() is None
        for number in {0, 1, 2, count // 2, count - 1} & set(range(count)):
            assert opened.read(name(number)) == contents[number % 3]
        if count:
            assert opened.infolist()[-1].date_time == (2026, 11, 22, 23, 5, 42)


def test_memory_stays_flat() -> None:
    count = 200_000
    tracemalloc.start()
    try:
        archive = Archive(MOMENT, name=name)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(count):
            archive.add(b"<svg/>")
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert sum(map(len, archive.close())) > 50 * count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 16 * count
    assert peak - after < 8 << 20
