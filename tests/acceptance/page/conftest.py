from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.acceptance.page.world import World, opened
from tests.chromium import chromium


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for all tests of the page; each scans codes of its own."""
    folder: Path = tmp_path_factory.mktemp("page")
    async with opened(folder) as world:
        yield world


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests of the page; each is a reader of its own in it."""
    async with chromium() as browser:
        yield browser
