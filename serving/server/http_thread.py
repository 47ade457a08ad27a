"""An aiohttp application in a thread of its own, which finishes what it began when it stops."""

from __future__ import annotations

import asyncio
import threading

from aiohttp import web

from serving.server.listening import listening_socket


class HttpThread:
    """Serves an application on one port."""

    def __init__(
        self,
        application: web.Application,
        host: str,
        port: int,
        drain_seconds: float,
    ):
        """Checks that the port is free; nothing listens before `start`.

        Args:
          application: to serve.
          host: address to listen on.
          port: to listen on.
          drain_seconds: that accepted requests have when it stops.

        Raises:
          OSError: the port is taken, or the address is not one of this machine's.
        """
        self._address = (host, port)
        listening_socket(host, port, "REST", "--rest_api_port").close()
        self._started = False
        self._loop = asyncio.new_event_loop()
        self._runner = web.AppRunner(
            application, handle_signals=False, access_log=None, shutdown_timeout=drain_seconds
        )
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)

    def start(self) -> None:
        """Opens the port and answers.

        Raises:
          OSError: the port was taken in the meantime.
        """
        self._started = True
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()

    def stop(self) -> None:
        """Refuses new connections and answers the accepted requests."""
        if not self._started:
            self._loop.close()
            return
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        await self._runner.setup()
        opened = listening_socket(*self._address, "REST", "--rest_api_port")
        await web.SockSite(self._runner, opened).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
