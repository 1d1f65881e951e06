from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.edge.door import Edge, open_edge


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """One Envoy for every test that changes nothing in it; tests do not count on each other's calls."""
    folder: Path = tmp_path_factory.mktemp("edge")
    async with open_edge(folder) as running:
        yield running
