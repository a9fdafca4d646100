"""As much of asyncpg as the examples name."""

from __future__ import annotations


class PostgresError(Exception): ...
