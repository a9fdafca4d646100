"""Functions that are made Django tasks of."""

from __future__ import annotations


def add(one: int, other: int = 0) -> int:
    return one + other


async def add_later(one: int) -> int:
    return one


def with_context(context: object, one: int) -> int:
    return one


def context_last(one: int, context: object) -> int:
    return one
