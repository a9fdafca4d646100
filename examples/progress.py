r"""Show progress while a run works: metadata for how far it is, a stream for what it says.

A run imports rows in three children at once. Each child counts on its parent with
`metadata.parent`, and writes a line into the parent's stream. Whoever follows the parent sees both
as they happen.

Output:
    EXECUTING
    re: log: rows \d+ to \d+ are in
    COMPLETED 3 of 3
    kept: 3 lines
"""

from celery import Celery

from trigger_celery import BatchItem, Run, TriggerCelery, metadata, runs, streams, task, tasks

app = Celery("progress")
TriggerCelery(app)

log = streams.define(id="log")


@task(id="import-part")
async def import_part(payload: dict) -> None:
    await log.append(f"rows {payload['first']} to {payload['last']} are in", target="parent")
    metadata.parent.increment("done")


@task(id="import")
async def import_rows(payload: dict) -> None:
    metadata.set("total", 3).set("done", 0)
    await metadata.flush()  # before the children count
    parts = [BatchItem({"first": start, "last": start + 99}) for start in (1, 101, 201)]
    await tasks.batch_trigger_and_wait("import-part", parts)


def progress(run_metadata: dict | None) -> str:
    found = run_metadata or {}
    return f"{found.get('done', 0)} of {found.get('total', 3)}"


if __name__ == "__main__":
    from playground import playground

    with playground(__file__):
        seen: list[Run] = []
        handle = import_rows.trigger({}).sync()
        for part in runs.subscribe_to_run(handle).with_streams():
            run = part["run"]
            if part["type"] == "log":
                print(f"log: {part['chunk']}")
            elif run.is_completed:
                print(f"{run.status} {progress(run.metadata)}")
            elif run.status == "EXECUTING" and not seen:
                seen.append(run)
                print(run.status)
        print(f"kept: {len(list(log.read(handle)))} lines")
