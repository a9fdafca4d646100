r"""Index the source of this machine's standard library: `make demo`.

A parent run triggers one child run for each package and each handful of modules, on a queue with a
concurrency limit of 4. Children parse the files and count; one of them fails twice on purpose and
succeeds on its third attempt. At the end everything is read back from the run records and checked.

As a script it starts a server and a worker of its own. To keep them running instead:

    trigger-celery dev examples/index_stdlib.py
    trigger-celery trigger index-stdlib --wait

Output:
    re: indexing \S+ in \d+ runs, 4 at once
    re: indexed \d+ of \d+ .*
    re: package +files +lines +functions +classes +kB
    re: [\w.…]+ +\d+ +[\d,]+ +[\d,]+ +[\d,]+ +[\d,]+
    re: slowest run +took +waited +attempts
    re: [\w.…]+ +\d+ ms +\d+ ms +\d
    re: all +[\d,]+ files, [\d,]+ lines, [\d,]+ functions, [\d,]+ classes, [\d.]+ MB
    re: runs +\d+ completed, 0 failed, \d+ attempts
    re: at once +4 \(the limit is 4\)
    re: waited +median \d+ ms, longest \d+ ms
    re: retried +\S+ took 3 attempts: flaky disk, flaky disk, done
    re: everything checks out, in \d+\.\d s
"""

import ast
import statistics
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from celery import Celery

from trigger_celery import Context, Run, TriggerCelery, queue, runs, task, tasks

app = Celery("index_stdlib")
TriggerCelery(app)

SOURCE = Path(sysconfig.get_paths()["stdlib"])
NOT_SOURCE = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test"}
LIMIT = 4
FLAKY = "json"

# Python 3.11 loses count of its recursion when two threads parse at once (CPython issue 106905).
parsing = threading.Lock()

indexing = queue(name="indexing", concurrency_limit=LIMIT)


@task(
    id="index-group",
    queue=indexing,
    retry={"max_attempts": 3, "min_timeout_in_ms": 300, "factor": 1, "randomize": False},
)
def index_group(payload: dict, ctx: Context) -> dict:
    """Count what one group of files holds. The group "json" meets a bad disk twice."""
    if payload["name"] == FLAKY and ctx.attempt.number < 3:
        raise OSError("flaky disk")
    counts = dict.fromkeys(("files", "lines", "functions", "classes", "bytes"), 0)
    for path in files_of([SOURCE / member for member in payload["members"]]):
        source = path.read_bytes()
        counts["files"] += 1
        counts["bytes"] += len(source)
        counts["lines"] += source.count(b"\n")
        with parsing:
            tree = ast.parse(source)
        for node in ast.walk(tree):
            counts["functions"] += isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            counts["classes"] += isinstance(node, ast.ClassDef)
    return counts


@task(id="index-stdlib", description="Trigger a run for each group of the standard library.")
async def index_stdlib(payload: None, ctx: Context) -> dict:
    items = [
        {"payload": {"name": name, "members": members}, "options": {"tags": [tag_of(ctx.run.id)]}}
        for name, members in groups()
    ]
    batch = await index_group.batch_trigger(items)
    return {"runs": batch.run_count, "tag": tag_of(ctx.run.id)}


def groups() -> list[tuple[str, list[str]]]:
    """Return every package, and the single modules in about 50 handfuls, as name and members."""
    entries = sorted(path for path in SOURCE.iterdir() if path.name not in NOT_SOURCE)
    packages = [path.name for path in entries if (path / "__init__.py").is_file()]
    modules = [path.name for path in entries if path.suffix == ".py"]
    handful = max(1, len(modules) // 50)
    found = [(name, [name]) for name in packages]
    for start in range(0, len(modules), handful):
        members = modules[start : start + handful]
        found.append((members[0].removesuffix(".py") + ("…" if members[1:] else ""), members))
    return found


def files_of(paths: Iterable[Path]) -> Iterable[Path]:
    """Yield the Python files among and below the paths, without test suites."""
    for path in paths:
        if path.is_file():
            yield path
            continue
        for file in sorted(path.rglob("*.py")):
            # lib2to3 and others carry files that are meant not to parse.
            if not NOT_SOURCE & set(file.relative_to(SOURCE).parts):
                yield file


def tag_of(run_id: str) -> str:
    return f"index:{run_id}"


def children(tag: str) -> list[Run]:
    """Return all runs with the tag, page by page, without their outputs."""
    found, cursor = [], None
    while True:
        page = runs.list(tag=tag, limit=100, after=cursor).sync()
        found += page.runs
        if (cursor := page.next_cursor) is None:
            return found


def watch(tag: str, count: int) -> list[Run]:
    """Show progress until every run has ended; return the full records."""
    show = bar if sys.stdout.isatty() else lines
    show(progress(tag, count), count)
    return [runs.retrieve(run.id).sync() for run in children(tag)]


def progress(tag: str, count: int) -> Iterator[tuple[int, int]]:
    """Yield how many runs have ended and how many are at work, until all have ended."""
    done = -1
    while done < count:
        found = children(tag)
        done = sum(run.is_completed for run in found)
        yield done, sum(run.is_executing for run in found)
        time.sleep(0.2)


def bar(steps: Iterable[tuple[int, int]], count: int) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = BarColumn(40), MofNCompleteColumn(), TextColumn("{task.description}")
    with Progress(*columns) as shown:
        item = shown.add_task("", total=count)
        for done, busy in steps:
            shown.update(item, completed=done, description=f"{busy} at work")


def lines(steps: Iterable[tuple[int, int]], count: int) -> None:
    said = 0.0
    for done, busy in steps:
        if done == count or time.monotonic() - said > 1:
            said = time.monotonic()
            print(f"indexed {done} of {count} groups, {busy} at work", flush=True)


def most_at_once(records: Sequence[Run]) -> int:
    """Return how many runs overlapped at most, by the times in their records."""
    moments = [(run.started_at, 1) for run in records if run.started_at]
    moments += [(run.finished_at, -1) for run in records if run.finished_at]
    most = now = 0
    for _, step in sorted(moments):  # at the same moment, ends come before starts
        now += step
        most = max(most, now)
    return most


def waited(run: Run) -> float:
    return run.queue_wait.total_seconds() * 1000 if run.queue_wait else 0.0


def report(records: Sequence[Run]) -> None:
    """Print what the records say."""
    done = [run for run in records if run.is_success]
    print(f"\n{'package':<18}{'files':>7}{'lines':>9}{'functions':>11}{'classes':>9}{'kB':>8}")
    for run in sorted(done, key=lambda run: -run.output["lines"])[:8]:
        out = run.output
        print(
            f"{run.payload['name']:<18}{out['files']:>7}{out['lines']:>9,}{out['functions']:>11,}"
            f"{out['classes']:>9,}{out['bytes'] // 1000:>8,}"
        )
    print(f"\n{'slowest run':<18}{'took':>12}{'waited':>12}{'attempts':>10}")
    for run in sorted(records, key=lambda run: -run.duration_ms)[:4]:
        print(
            f"{run.payload['name']:<18}{run.duration_ms:>9} ms{waited(run):>9.0f} ms"
            f"{run.attempt_count:>10}"
        )
    total = {name: sum(run.output[name] for run in done) for name in done[0].output} if done else {}
    waits = [waited(run) for run in records]
    flaky = next((run for run in records if run.payload["name"] == FLAKY), None)
    print()
    if total:
        print(
            f"all       {total['files']:,} files, {total['lines']:,} lines, "
            f"{total['functions']:,} functions, {total['classes']:,} classes, "
            f"{total['bytes'] / 1e6:.1f} MB"
        )
    attempts = sum(run.attempt_count for run in records)
    print(
        f"runs      {len(done)} completed, {len(records) - len(done)} failed, {attempts} attempts"
    )
    print(f"at once   {most_at_once(records)} (the limit is {LIMIT})")
    print(f"waited    median {statistics.median(waits):.0f} ms, longest {max(waits):.0f} ms")
    if flaky is not None:
        story = [attempt.error.message for attempt in flaky.attempts if attempt.error]
        ending = "done" if flaky.is_success else flaky.status.lower()
        print(
            f"retried   {FLAKY} took {flaky.attempt_count} attempts: {', '.join([*story, ending])}"
        )


def problems(records: Sequence[Run]) -> list[str]:
    """Return what is not as it has to be."""
    found = []
    if len(records) < 60:
        found.append(f"only {len(records)} child runs, 60 or more were expected")
    unfinished = [f"{run.payload['name']} {run.status}" for run in records if not run.is_success]
    if unfinished:
        found.append(f"not completed: {', '.join(unfinished)}")
    if most_at_once(records) > LIMIT:
        found.append(f"{most_at_once(records)} runs at once, the limit is {LIMIT}")
    flaky = [run.attempt_count for run in records if run.payload["name"] == FLAKY]
    if flaky != [3]:
        found.append(f"{FLAKY} took {flaky} attempts instead of [3]")
    return found


def main() -> int:
    began = time.monotonic()
    parent = runs.poll(tasks.trigger("index-stdlib").sync(), timeout=60).sync()
    if not parent.is_success:
        print(f"error: the parent run ended as {parent.status}: {parent.error}", file=sys.stderr)
        return 1
    print(f"indexing {SOURCE} in {parent.output['runs']} runs, {LIMIT} at once")
    records = watch(parent.output["tag"], parent.output["runs"])
    report(records)
    wrong = problems(records)
    for problem in wrong:
        print(f"error: {problem}", file=sys.stderr)
    if not wrong:
        print(f"\neverything checks out, in {time.monotonic() - began:.1f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    from playground import playground

    with playground(__file__):
        code = main()
    sys.exit(code)
