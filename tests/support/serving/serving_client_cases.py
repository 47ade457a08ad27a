"""The four clients behind one blocking function, for tests that ask all of them the same."""

from __future__ import annotations

import asyncio

from serving.client import AsyncClient, Client, RetryPolicy
from tests.support.serving.serving_fakes import MODEL

KINDS = ("grpc", "rest", "async grpc", "async rest")
QUICK = RetryPolicy(first_pause_s=0.01)


def ask(kind, server, method, *args, model=MODEL, options=None, **keywords):
    """One call by one of the four clients."""
    options = {"retries": QUICK} | (options or {})
    if not kind.startswith("async"):
        with Client(server, model, **options) as client:
            return getattr(client, method)(*args, **keywords)

    async def call():
        async with AsyncClient(server, model, **options) as client:
            return await getattr(client, method)(*args, **keywords)

    return asyncio.run(call())
