"""The shared database module that the examples import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class Connection:
    """Answers a query with what it was asked."""

    async def fetch(self, query: str, *args: Any) -> list[dict[str, Any]]:
        return [{"query": query, "args": list(args)}]


@asynccontextmanager
async def get_db_connection() -> AsyncIterator[Connection]:
    yield Connection()


async def execute_query(query: str, *args: Any) -> list[dict[str, Any]]:
    async with get_db_connection() as connection:
        return await connection.fetch(query, *args)
