"""Pages of `runs.list` among a million runs: with two filters, deep in the list, and rare ones.

The runs are written by a script of the bench's own, as the engine leaves them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING, Any

from bench.rows import Benchmark, Row, Sample, percentile
from trigger_celery.engine import keys
from trigger_celery.engine.admission import version_label
from trigger_celery.engine.listing import Place, RunFilter, list_runs
from trigger_celery.model.ids import token
from trigger_celery.model.run import RunStatus

if TYPE_CHECKING:
    from bench.rig import Rig

RUNS = 1_000_000
PAGE = 50
CALLS = 300
PIECE = 5000
BASE = 1_700_000_000_000

FILL = """
local first, count, base = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local entries = {}
local function index(name, score, id)
  local list = entries[name]
  if not list then list = {} entries[name] = list end
  list[#list + 1], list[#list + 2] = score, id
end
local function token(text) return string.sub(redis.sha1hex(text), 1, 20) end
for i = first, first + count - 1 do
  local id = string.format('run_%026d', i)
  local at = string.format('%.0f', base + math.floor(i / 3))
  local status = i % 20 == 7 and 'FAILED' or i % 100 == 3 and 'QUEUED' or 'COMPLETED'
  local task = 't' .. i % 11
  local tags = { 'user_' .. (i * 7919) % 1000 }
  if i % 10 < 3 then tags[#tags + 1] = 'left' end
  if i % 10 > 6 or i % 50000 == 0 then tags[#tags + 1] = 'right' end
  local version = 'v' .. math.floor(i / 200000)
  local label = 'version-' .. token(version)
  redis.call('HSET', KEYS[1] .. ':run:' .. id, 'status', status, 'task', task, 'queue',
    'task/' .. task, 'lane', 'x', 'created', at, 'queued', at, 'started', at, 'finished', at,
    'n', '4', 'attempt', '1', 'epoch', '1', 'payload', '{"i":1}', 'output', '1',
    'tags', table.concat(tags, '\\31'), 'labels', label)
  index('status:' .. status, at, id)
  index('task:' .. token(task), at, id)
  index('label:' .. label, at, id)
  for _, tag in ipairs(tags) do index('tag:' .. token(tag), at, id) end
end
for name, list in pairs(entries) do
  for i = 1, #list, 2000 do
    redis.call('ZADD', KEYS[1] .. ':index_' .. name, unpack(list, i, math.min(i + 1999, #list)))
  end
end
"""

ROWS = (
    Row("all", "page of 50 among 1,000,000 runs, no filter, p99", "ms", most=30, absolute=True),
    Row("pair", "the same, status and task, p99", "ms", most=30, absolute=True),
    Row("tag", "the same, status and one of 1,000 tags, p99", "ms", most=30, absolute=True),
    Row("version", "the same, version and task, p99", "ms", most=30, absolute=True),
    Row("deep", "the same, status and task, deep in the list, p99", "ms", most=30, absolute=True),
    Row("times", "the same, task and a tenth of the time, p99", "ms", most=30, absolute=True),
    Row("tags", "the same, two tags that 250,000 runs have and 20 share, p99", "ms"),
    Row("piece", "the longest single call of all these, in the server", "ms"),
)


def fill(rig: Rig, runs: int) -> None:
    """Write runs as the engine leaves them."""
    scope = rig.trigger.scope
    script = rig.client.register_script(FILL)
    for first in range(0, runs, PIECE):
        script(keys=[scope], args=[first, min(PIECE, runs - first), BASE])
    sample = f"run_{7:026d}"
    if not rig.client.exists(keys.key(scope, "run", sample)):
        raise RuntimeError("the script of the bench makes other keys than the engine")
    for name, part in (("tag", token("left")), ("label", version_label("v0"))):
        if not rig.client.exists(keys.key(scope, f"index_{name}", part)):
            raise RuntimeError("the script of the bench makes other keys than the engine")


def _times(
    rig: Rig, calls: int, filters: Iterator[RunFilter], after: Callable[[], str | None]
) -> list[float]:
    store, taken = rig.trigger.store, []
    for _ in range(calls):
        wanted, cursor = next(filters), after()
        began = time.perf_counter()
        store.run_sync(list_runs(rig.trigger.scope, wanted, PAGE, cursor))
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def _filters(runs: int) -> dict[str, Sequence[RunFilter]]:
    tasks = [f"t{n}" for n in range(11)]
    failed, queued = (RunStatus.FAILED,), (RunStatus.QUEUED,)
    at = _moment(BASE + runs // 6)
    return {
        "all": [RunFilter()],
        "pair": [RunFilter(statuses=s, tasks=(task,)) for task in tasks for s in (failed, queued)],
        "tag": [RunFilter(statuses=failed, tags=(f"user_{n}",)) for n in range(100)],
        "version": [RunFilter(versions=(f"v{n}",), tasks=("t3",)) for n in range(5)],
        "times": [
            RunFilter(tasks=(task,), created_from=at, created_to=_moment(BASE + runs // 5))
            for task in tasks
        ],
        "tags": [RunFilter(tags=("left", "right"), all_tags=True)],
    }


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def measure(rig: Rig) -> dict[str, Sample]:
    runs = rig.count(RUNS)
    rig.reset()
    fill(rig, runs)
    rig.client.execute_command("SLOWLOG", "RESET")
    rig.client.config_set("slowlog-log-slower-than", 500)
    calls = rig.count(CALLS, 20)
    random = Random(7)
    samples: dict[str, Sample] = {}
    found = _filters(runs)

    def note(key: str, name: str, after: Callable[[], str | None], calls: int) -> None:
        taken = _times(rig, calls, cycle(found[name]), after)
        rig.say(f"  {key}: p50 {percentile(taken, 0.5):.2f} ms, p99 {percentile(taken, 0.99):.2f}")
        samples[key] = Sample(percentile(taken, 0.99))

    def anywhere() -> str:
        i = random.randrange(runs)
        return Place(str(BASE + i // 3), f"run_{i:026d}").to_cursor()

    for name in ("all", "pair", "tag", "version", "times"):
        note(name, name, lambda: None, calls)
    note("deep", "pair", anywhere, calls)
    note("tags", "tags", lambda: None, max(2, calls // 20))
    slow: Any = rig.client.slowlog_get(500)
    samples["piece"] = Sample(max((entry["duration"] for entry in slow), default=0) / 1000)
    rig.reset()
    return samples


BENCHMARK = Benchmark("listing", ROWS, measure, most_repeats=1)
