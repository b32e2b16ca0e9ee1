"""A TCP proxy on loopback that can be slow, silent or cut: the network between a client and the broker."""

import asyncio
import threading
from contextlib import suppress

from deploy.settings import LOOPBACK

_CHUNK = 1 << 16
_LOOK_EVERY_S = 0.01


class Proxy:
    """Forwards connections to a port, in a thread of its own. port: where it listens.

    delay_s: what every piece is late, in either direction. is_silent: connections stand, nothing comes through.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.delay_s = 0.0
        self.is_silent = False
        self._is_cut = False
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {port}", daemon=True)
        self._thread.start()
        serving = asyncio.start_server(self._forward, LOOPBACK, port)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(10)

    def cut(self) -> None:
        """Ends every connection and takes no new one."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._end_all)

    def mend(self) -> None:
        """Forwards at once again."""
        self._is_cut = self.is_silent = False
        self.delay_s = 0.0

    def close(self) -> None:
        """Ends the thread."""

        async def end() -> None:
            self._server.close()
            self._end_all()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _end_all(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.close()
            return
        try:
            there, back = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        pumps = [asyncio.create_task(self._pump(*pair)) for pair in ((reader, back), (there, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for one in (writer, back):
                self._writers.discard(one)
                one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivering = asyncio.create_task(self._deliver(late, writer))
        try:
            with suppress(OSError):
                while data := await reader.read(_CHUNK):
                    late.put_nowait((self._loop.time() + self.delay_s, data))
        finally:
            delivering.cancel()

    async def _deliver(self, late: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                due, data = await late.get()
                while self.is_silent or (wait := due - self._loop.time()) > 0:
                    await asyncio.sleep(_LOOK_EVERY_S if self.is_silent else wait)
                writer.write(data)
                await writer.drain()
