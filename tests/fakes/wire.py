"""The way of TCP connections to a real server, with faults: it is long, it stands still, or what it carries is lost."""

import asyncio
from types import TracebackType
from typing import Self


class Wire:
    """A port that leads to another one on this machine."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        """Seconds that each piece takes, either way."""
        self.port = 0
        self._to = port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._vanished = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def stop(self) -> None:
        """Nothing comes through, until `go_on`; new connections are accepted, and stand still too."""
        self._flowing.clear()

    def go_on(self) -> None:
        self._flowing.set()

    def vanish(self) -> None:
        """The clients of now are gone without a word: what is sent to them is lost. New ones come through."""
        self._vanished.set()
        self._vanished = asyncio.Event()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward: asyncio.StreamWriter | None = None
        try:
            await self._flowing.wait()
            back, onward = await asyncio.open_connection("127.0.0.1", self._to)
            await self._carry(reader, onward, back, writer)
        except OSError:
            pass  # one end broke off: so does the other
        finally:
            for end in (writer, onward):
                if end is not None:
                    end.transport.abort()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        vanished = self._vanished

        async def there() -> None:
            while data := await reader.read(65536):
                await self._piece(data, onward, vanished)

        async def back_again() -> None:
            while data := await back.read(65536):
                await self._piece(data, writer, vanished)

        ways = {asyncio.create_task(there()), asyncio.create_task(back_again())}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _piece(self, data: bytes, onward: asyncio.StreamWriter, vanished: asyncio.Event) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        await self._flowing.wait()
        if not vanished.is_set():
            onward.write(data)
            await onward.drain()
