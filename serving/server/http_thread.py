"""Runs an aiohttp application in a separate thread; stopping finishes accepted requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from absl import logging
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
        max_connections: int,
        on_refused: Callable[[str], None] = lambda flag: None,
    ):
        """Checks that the port is free; nothing listens before `start`.

        Args:
          application: the application to serve.
          host: address to listen on.
          port: port to listen on.
          drain_seconds: time limit of accepted requests after the stop.
          max_connections: largest number of connections; further ones are closed at once.
          on_refused: called with "max_connections" for each of these.

        Raises:
          OSError: the port is taken, or the address does not belong to this machine.
        """
        self._address = (host, port)
        listening_socket(host, port, "REST", "--rest_api_port").close()
        self._started = False
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_log_exception)
        self._runner = _Runner(
            application, handle_signals=False, access_log=None, shutdown_timeout=drain_seconds
        )
        self._runner.limit, self._runner.starting = max_connections, 0
        self._runner.on_refused = on_refused
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on, once started (a free port was chosen if 0 was given)."""
        return self._runner.addresses[0][1]

    def start(self) -> None:
        """Opens the port and handles requests.

        Raises:
          OSError: the port was taken in the meantime.
        """
        self._started = True
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()

    def stop(self) -> None:
        """Refuses new connections and finishes the accepted requests."""
        if not self._started:
            self._loop.close()
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        await self._runner.setup()
        opened = listening_socket(*self._address, "REST", "--rest_api_port")
        await web.SockSite(self._runner, opened).start()

    async def _end(self) -> None:
        await self._runner.cleanup()
        # aiohttp waits ten seconds for the rest of a body, even if the client has gone.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


class _Runner(web.AppRunner):
    """Limits the number of connections to `limit`."""

    __slots__ = ("limit", "on_refused", "starting")

    @property
    def server(self) -> Callable[[], asyncio.BaseProtocol] | None:
        server = super().server
        if server is None:
            return None

        def protocol() -> asyncio.BaseProtocol:
            if len(server.connections) + self.starting >= self.limit:
                self.on_refused("max_connections")
                return _Refusal()
            # The loop's next round adds it to the server's connections.
            self.starting += 1
            asyncio.get_running_loop().call_soon(self._started)
            return server()

        return protocol

    def _started(self) -> None:
        self.starting -= 1


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _log_exception(loop: asyncio.AbstractEventLoop, context: dict) -> None:
    # asyncio retries by itself, and logs each of very many attempts with a traceback.
    error = context.get("exception")
    if isinstance(error, OSError) and "accept" in context["message"]:
        logging.log_every_n_seconds(
            logging.ERROR, "REST cannot accept connections: %s", 10, error.strerror
        )
    else:
        loop.default_exception_handler(context)
