"""Answers the store's scripts out of memory, as far as inline mode knows them.

Each handler answers as its script's header says. What is missing here raises InlineModeError: nothing is
ever sent to a server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NoReturn

from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine.codec import read_links
from trigger_celery.errors import InlineModeError
from trigger_celery.model.packet import JSON, Packet
from trigger_celery.model.run import RunStatus
from trigger_celery.store.op import Call
from trigger_celery.testing.inline_records import InlineRun, InlineToken, Memory

Answering = Generator[InlineRun, None, Any]
"""Yields runs that are to be executed before the answer, and returns it."""

MAX_RUNS = 1000
MAX_DEPTH = 25


class Scripts:
    """The scripts that inline mode knows, by their names."""

    def __init__(self, memory: Memory, complete: Callable[[InlineToken], None]) -> None:
        self._memory = memory
        self._complete = complete

    def answer(self, call: Call) -> Answering:
        """Answer one call. Raises InlineModeError for what needs a server."""
        if call.script is None:
            return self._command(call)
        handler = getattr(self, f"_{call.script.name}", None)
        if handler is None:
            _refuse(call.script.name.replace("_", " "))
        count = len(call.script.argv)
        given = {name: str(value) for name, value in zip(call.script.argv, call.args, strict=False)}
        rest = [one.decode() if isinstance(one, bytes) else str(one) for one in call.args[count:]]
        reply = yield from handler(given, rest)
        return call.decode(reply) if call.decode is not None else reply

    def _command(self, call: Call) -> Any:
        word, key, *fields = map(str, call.args)
        run = self._memory.runs.get(key.rpartition(":")[2])
        if word != "HMGET" or fields != ["epoch", "status"] or run is None:
            _refuse(f"the command {word}")
        return [b"1", run.status.encode()]  # whether the attempt still has its run

    # Runs

    def _create_runs(self, given: dict[str, str], items: Sequence[str]) -> Answering:
        answers = []
        for start in range(0, len(items), 3):
            run_id, body, details = items[start : start + 3]
            packed, plain = _parts(details)
            found = self._memory.keys.get(packed.get("idem", ""))
            if found is not None and not self._memory.runs[found].seen().is_failed:
                answers.append(b"cached " + found.encode())
                continue
            if run_id in self._memory.runs:
                answers.append(b"again")
                continue
            run = self._make(given, run_id, body, packed, plain)
            answers.append(b"QUEUED")
            if not run.is_final:
                yield run
        return answers

    def _make(
        self,
        given: dict[str, str],
        run_id: str,
        body: str,
        packed: dict[str, Any],
        plain: list[str],
    ) -> InlineRun:
        mode, amount, priority, kind, tags, metadata = plain
        memory, task = self._memory, given["task"]
        definition = REGISTRY.tasks.get(task)
        if definition is None:
            raise InlineModeError(
                f"inline mode executes runs in this process, which knows no task {task!r}: import the "
                "module that declares it"
            )
        if packed.get("celery", "").startswith("c"):
            _refuse("a chain, chord or callback that goes on from a run")
        now = memory.now()
        run = InlineRun(
            id=run_id,
            task=task,
            queue=given["queue"] or definition.queue.name,
            payload=Packet("" if mode == "failed" else body, kind),
            links=given["links"],
            concurrency_key=given["key"],
            priority_ms=int(priority),
            due_ms=None
            if mode in ("now", "failed")
            else int(amount) + (now if mode == "in" else 0),
            max_attempts=int(given["max"]) if given["max"] else None,
            max_duration_ms=int(given["max_duration"]) if given["max_duration"] else None,
            batch=given["batch"],
            options=packed.get("opts", ""),
            tags=[tag for tag in tags.split("\x1f") if tag],
            metadata=metadata,
            created_ms=now,
        )
        self._check_bounds(run)
        memory.runs[run_id] = run
        if "idem" in packed:
            memory.keys[packed["idem"]] = run_id
        if mode == "failed":
            run.error = body
            run.end(RunStatus.FAILED, now)
        elif run.due_ms is not None:
            memory.pass_until(run.due_ms)
        return run

    def _check_bounds(self, run: InlineRun) -> None:
        if read_links(run.links)[2] > MAX_DEPTH or len(self._memory.runs) >= MAX_RUNS:
            raise InlineModeError(
                f"task {run.task!r} would be triggered inside of {MAX_DEPTH} runs, or as the "
                f"{MAX_RUNS:,}th run: inline mode executes a run where it is triggered, so tasks that "
                "trigger themselves have no end. Use trigger_env for them."
            )

    def _read_run(self, given: dict[str, str], _: Sequence[str]) -> Answering:
        run = self._memory.runs.get(given["run_id"])
        yield from ()
        if run is None:
            return []
        return [run.fields(), *run.bodies()] if given["bodies"] == "1" else [run.fields()]

    def _read_related(self, given: dict[str, str], _: Sequence[str]) -> Answering:
        runs = self._memory.runs
        yield from ()
        run = runs.get(given["run_id"])
        if run is None:
            return [0, [], []]
        parent, root, _depth, _trace = read_links(run.links)
        around = [runs[one].fields() if one in runs else [] for one in (root or "", parent or "")]
        own = [one for one in runs.values() if read_links(one.links)[0] == run.id]
        newest = own[::-1][: int(given["most"])]
        return [len(own), *around, *([one.id.encode(), one.fields()] for one in newest)]

    def _read_results(self, _: dict[str, str], ids: Sequence[str]) -> Answering:
        yield from ()
        return [list(self._result(self._memory.runs[one])) for one in ids]

    def _result(self, run: InlineRun) -> Iterator[bytes]:
        for text in (run.status, run.task, run.output.type, run.output.data, run.error):
            yield text.encode()

    def _add_tags(self, given: dict[str, str], pairs: Sequence[str]) -> Answering:
        run = self._memory.runs.get(given["run_id"])
        yield from ()
        if run is None:
            return [b"gone"]
        new = [tag for tag in pairs[1::2] if tag not in run.tags]
        if len(run.tags) + len(new) > int(given["most"]):
            return [b"full", str(len(run.tags)).encode()]
        run.tags += new
        return [b"ok"]

    def _change_metadata(self, _: dict[str, str], pairs: Sequence[str]) -> Answering:
        reply: list[bytes] = [b"ok"]
        yield from ()
        for run_id, changes in zip(pairs[::2], pairs[1::2], strict=True):
            run = self._memory.runs.get(run_id)
            if run is not None:
                run.changes.append(changes)
            reply += (b"gone" if run is None else b"ok", b"1", b"1")
        return reply

    def _read_metadata(self, given: dict[str, str], _: Sequence[str]) -> Answering:
        run = self._memory.runs.get(given["run_id"])
        yield from ()
        if run is None:
            return []
        return [b"0", run.metadata.encode(), [change.encode() for change in run.changes]]

    def _append_stream(self, given: dict[str, str], chunks: Sequence[str]) -> Answering:
        run = self._memory.runs.get(given["target"])
        yield from ()
        if run is None:
            return [b"gone", 0]
        kept = run.streams.setdefault(given["name"], [])
        kept += chunks
        return [b"ok", len(kept)]

    def _append_logs(self, *_: Any) -> Answering:
        yield from ()
        return b"ok"

    # Batches

    def _create_batch(self, given: dict[str, str], ids: Sequence[str]) -> Answering:
        memory = self._memory
        key = f"batch {given['keyed'].partition(chr(31))[0]}" if given["keyed"] else ""
        yield from ()
        if key in memory.keys:
            return [b"cached", memory.keys[key].encode()]
        if key:
            memory.keys[key] = given["id"]
        memory.batches[given["id"]] = ids
        memory.batch_errors[given["id"]] = given["errors"]
        return [b"created", given["id"].encode()]

    def _seal_batch(self, *_: Any) -> Answering:
        yield from ()
        return b"COMPLETED"

    def _read_batch(self, given: dict[str, str], _: Sequence[str]) -> Answering:
        ids = self._memory.batches.get(given["id"])
        yield from ()
        if ids is None:
            return []
        fields = [b"status", b"COMPLETED", b"count", str(len(ids)).encode()]
        if errors := self._memory.batch_errors[given["id"]]:
            fields += (b"errors", errors.encode())
        return [fields, [run_id.encode() for run_id in ids]]

    # Waits and steps

    def _create_waitpoint(self, given: dict[str, str], _: Sequence[str]) -> Answering:
        memory, key = self._memory, given["key"]
        found = memory.keys.get(f"wait {key}") if key else None
        yield from ()
        if found is not None or given["id"] in memory.tokens:
            return [b"cached" if found else b"again", (found or given["id"]).encode()]
        due = int(given["amount"]) + (memory.now() if given["mode"] == "in" else 0)
        memory.tokens[given["id"]] = InlineToken(
            given["id"], given["type"], memory.now(), due, key, given["tags"]
        )
        if key:
            memory.keys[f"wait {key}"] = given["id"]
        return [b"created", given["id"].encode()]

    def _read_waitpoint(self, given: dict[str, str], _: Sequence[str]) -> Answering:
        found = self._memory.tokens.get(given["id"])
        yield from ()
        if found is None:
            return []
        return [found.fields(), b"" if found.output is None else found.output.data.encode()]

    def _complete_token(self, given: dict[str, str], _: Sequence[str]) -> Answering:
        found = self._memory.tokens.get(given["id"])
        yield from ()
        if found is None:
            return [b"gone", b""]
        if found.status != "WAITING":
            return [b"ended", found.status.encode()]
        found.status, found.output = "COMPLETED", Packet(given["data"], given["ptype"])
        return [b"ok", b"COMPLETED"]

    def _shorten_token(self, *_: Any) -> Answering:
        yield from ()
        return 0

    def _wait_for(self, given: dict[str, str], _: Sequence[str]) -> Answering:
        target, memory = given["target"], self._memory
        yield from ()
        token = memory.tokens.get(target)
        if token is not None and token.status == "WAITING":
            self._complete(token)
            return [b"waiting"]
        run = memory.runs.get(target)
        if run is not None and not run.is_final:
            return [b"cycle", f"{given['run_id']} {target}".encode()]
        known = not target or target in memory.batches or token is not None or run is not None
        return [b"ready" if known else b"unknown"]

    def _record_step(self, given: dict[str, str], _: Sequence[str]) -> Answering:
        steps = self._memory.runs[given["run_id"]].steps
        kept = steps.setdefault(given["name"], Packet(given["data"], given["ptype"]))
        yield from ()
        return [b"ok", kept.type.encode(), kept.data.encode()]

    def _read_record(self, given: dict[str, str], _: Sequence[str]) -> Answering:
        steps = self._memory.runs[given["run_id"]].steps
        yield from ()
        pairs = ((name, f"{kept.type}\x1f{kept.data}") for name, kept in steps.items())
        return [[], [part.encode() for pair in pairs for part in pair], []]


def _refuse(what: str) -> NoReturn:
    raise InlineModeError(
        f"inline mode has no server, and this needs one ({what}). It executes tasks with their children, "
        "batches, waits, tokens, steps, metadata and tags; for queues, lists, subscriptions, cancels, "
        "schedules and the rest use the fixture trigger_env."
    )


def _parts(details: str) -> tuple[dict[str, Any], list[str]]:
    """Return further options, and mode, delay, priority, packet type, tags, metadata of an item."""
    packed: dict[str, Any] = {}
    if details.startswith("{"):
        text, _, details = details.partition("\x1e")
        packed = json.loads(text)
    return packed, details.split("\x1e", 5) if details else ["now", "0", "0", JSON, "", ""]
