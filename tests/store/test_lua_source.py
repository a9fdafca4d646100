"""Calls of one-line functions are written out, and functions nobody calls are left out."""

from __future__ import annotations

from trigger_celery.store.lua_source import inlined, one_line, without_unused

KEYS = {
    "key_all": one_line("local function key_all() return KEYS[1]..':all' end"),
    "key_pair": one_line(
        "local function key_pair(queue, key) return KEYS[1]..':queue'..':'..queue..':'..key end"
    ),
}


def test_arguments_are_put_in() -> None:
    body = "return { key_all(), key_pair(token(f[2], 'a,)b'), k) }"
    assert inlined(body, KEYS) == (
        "return { (KEYS[1]..':all'), (KEYS[1]..':queue'..':'..token(f[2], 'a,)b')..':'..k) }"
    )


def test_calls_within_calls_are_written_out_too() -> None:
    assert inlined("key_pair(key_all(), x)", KEYS) == (
        "(KEYS[1]..':queue'..':'..(KEYS[1]..':all')..':'..x)"
    )


def test_unused_functions_go_with_what_only_they_use() -> None:
    body = (
        "local function inner()\n  return 1\nend\n"
        "local function outer()\n  return inner()\nend\n"
        "local function kept()\n  return 2\nend\n"
        "return kept()\n"
    )
    assert without_unused(body) == "local function kept()\n  return 2\nend\nreturn kept()\n"
