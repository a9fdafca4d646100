"""Loads the Lua scripts: one file a script, `-- INCLUDE name` for shared code.

A script opens with a header that is its contract:

```
-- start_run: DEQUEUED -> EXECUTING
-- KEYS  scope
-- ARGV  op_id run_id epoch rest...
-- REPLY ok attempt | stale
-- TTL   none
```

The loader turns the names after ARGV into Lua locals (`rest...` is the index of the first of
the remaining arguments) and writes the key functions out where the script calls them. A
function under the comment `-- RARE` gets what only it needs: that is made when it is called.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from trigger_celery.store.lua_source import (
    inlined,
    one_line,
    rare_functions,
    with_rare_inside,
    without_unused,
)
from trigger_celery.store.op import Arg, Call

_INCLUDE = re.compile(r"^-- INCLUDE (\w+)\s*$", re.MULTILINE)
_ARGV = re.compile(r"^-- ARGV[ \t]*(.*)$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)
"""Comments are for readers of the file; the server gets the code."""
_WORD = re.compile(r"\b(key_\w+|[A-Z][A-Z_]{2,})\b")


class Script:
    """One loaded script: its text as sent to the server, its SHA, and the names of its arguments."""

    __slots__ = ("argv", "head", "name", "rest", "sha", "text")

    def __init__(self, name: str, text: str, argv: Sequence[str], rest: bool) -> None:
        self.name = name
        self.text = text.encode()
        self.argv = tuple(argv)
        self.rest = rest
        self.sha = hashlib.sha1(self.text).hexdigest()  # noqa: S324 - the server's own digest
        self.head = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n$1\r\n1\r\n" % self.sha.encode()

    def __call__(
        self,
        scope: str,
        rest: Sequence[Arg] = (),
        decode: Callable[[Any], Any] | None = None,
        /,
        **named: Arg,
    ) -> Call:
        """Return the call of this script; arguments by the names of its header."""
        try:
            args = [named[name] for name in self.argv]
        except KeyError as missing:
            raise TypeError(f"script {self.name} needs argument {missing}") from None
        if len(named) != len(args) or (rest and not self.rest):
            raise TypeError(f"script {self.name} takes {self.argv}, got {sorted(named)}")
        if rest:
            args.extend(rest)
        return Call(self, scope, args, decode)

    def __repr__(self) -> str:
        return f"<Script {self.name} {self.sha[:8]}>"


class ScriptLibrary:
    """The scripts of one folder, as attributes: `library.create_runs(scope, op_id=…)`.

    A script is read and put together when it is first asked for: most processes need a few of
    them. *preludes* maps a name that a script may use to the Lua line which defines it.
    """

    def __init__(self, package: str, preludes: dict[str, str]) -> None:
        self._folder = files(package)
        self._preludes = preludes
        self._one_line = {
            name: found for name, line in preludes.items() if (found := one_line(line))
        }
        self._includes: dict[str, str] = {}

    def __getattr__(self, name: str) -> Script:
        entry = self._folder / f"{name}.lua"
        if name.startswith("_") or not entry.is_file():
            raise AttributeError(f"no script named {name!r}")
        script = self._load(entry)
        # Found without coming here from now on. Two threads that load it make equal ones.
        setattr(self, name, script)
        return script

    @property
    def scripts(self) -> dict[str, Script]:
        """Every script by its name."""
        names = (entry.name.partition(".lua") for entry in self._folder.iterdir())
        return {name: getattr(self, name) for name, lua, _ in sorted(names) if lua}

    def _load(self, entry: Traversable) -> Script:
        name = entry.name.removesuffix(".lua")
        source = entry.read_text("utf-8")
        header = _ARGV.search(source)
        names = header.group(1).split() if header else []
        rest = bool(names) and names[-1].endswith("...")
        fixed = names[:-1] if rest else names
        body = self._expand(source, seen=set())
        rare = rare_functions(body)
        body = without_unused(inlined(_COMMENT.sub("", body), self._one_line))
        body = with_rare_inside(body, rare, names)
        used = dict.fromkeys(_WORD.findall(body))
        lines = [self._preludes[word] for word in used if word in self._preludes]
        if fixed:
            values = ", ".join(f"ARGV[{index}]" for index in range(1, len(fixed) + 1))
            lines.append(f"local {', '.join(fixed)} = {values}")
        if rest:
            lines.append(f"local {names[-1].removesuffix('...')} = {len(fixed) + 1}")
        return Script(name, "\n".join([*lines, body]), fixed, rest)

    def _expand(self, source: str, seen: set[str]) -> str:
        def include(match: re.Match[str]) -> str:
            name = match.group(1)
            if name in seen:
                return ""
            seen.add(name)
            if name not in self._includes:
                path = self._folder / "include" / f"{name}.lua"
                self._includes[name] = path.read_text("utf-8")
            return self._expand(self._includes[name], seen)

        return _INCLUDE.sub(include, source)
