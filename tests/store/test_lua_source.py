"""Calls of one-line functions are written out, and functions nobody calls are left out."""

from __future__ import annotations

import pytest

from trigger_celery.store.lua_source import (
    inlined,
    one_line,
    rare_functions,
    with_rare_inside,
    without_unused,
)

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


RARE = """local LIMITS = {
  many = 1,
}
local count = 0
local function both() return count end
local function deep(id)
  return LIMITS.many + both()
end
-- RARE
-- Done once a day.
local function seldom(id)
  return deep(id)
end
local function often()
  if count > 9 then return seldom('x') end
  return both()
end
return often()
"""


def test_what_only_rare_functions_use_is_made_when_one_is_called() -> None:
    rare = rare_functions(RARE)
    assert rare == {"seldom"}
    assert with_rare_inside(RARE.replace("-- RARE\n-- Done once a day.\n", ""), rare) == (
        "local count = 0\n"
        "local function both() return count end\n"
        "local function seldom(id)\n"
        "local LIMITS = {\n  many = 1,\n}\n"
        "local function deep(id)\n  return LIMITS.many + both()\nend\n"
        "  return deep(id)\nend\n"
        "local function often()\n  if count > 9 then return seldom('x') end\n"
        "  return both()\nend\n"
        "return often()\n"
    )


def test_a_parameter_that_would_hide_a_variable_is_refused() -> None:
    body = RARE.replace("seldom(id)", "seldom(count)")
    moved = body.replace("return LIMITS.many + both()", "return LIMITS.many + count")
    with pytest.raises(ValueError, match=r"hides \{'count'\} from local function deep"):
        with_rare_inside(moved, {"seldom"})
    assert with_rare_inside(body, {"seldom"})


def test_a_parameter_that_would_be_hidden_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden by \{'deep'\}"):
        with_rare_inside(RARE.replace("seldom(id)", "seldom(deep)"), {"seldom"})
