"""One queue, many tenants: every concurrency key has the queue's limit to itself.

Three tenants share the queue `exports` with a limit of 1. Ada has triggered twenty runs before the
others trigger two each; they do not wait for hers.

Output:
    ada     20 exports, never more than 1 at once
    grace    2 exports, never more than 1 at once
    alan     2 exports, never more than 1 at once
    grace and alan were done before ada: True
"""

import asyncio

from celery import Celery

from trigger_celery import Run, TriggerCelery, queue, runs, task

app = Celery("tenants")
TriggerCelery(app)

exports = queue(name="exports", concurrency_limit=1)


@task(id="export", queue=exports)
async def export(payload: dict) -> str:
    await asyncio.sleep(0.05)
    return f"{payload['tenant']}-{payload['number']}.csv"


def item(tenant: str, number: int) -> dict:
    return {
        "payload": {"tenant": tenant, "number": number},
        "options": {"concurrency_key": tenant, "tags": [f"tenant:{tenant}"]},
    }


def most_at_once(found: list[Run]) -> int:
    moments = [(run.started_at, 1) for run in found] + [(run.finished_at, -1) for run in found]
    now = most = 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    return most


if __name__ == "__main__":
    from playground import playground

    with playground(__file__):
        handles = export.batch_trigger([item("ada", number) for number in range(20)]).sync().runs
        for tenant in ("grace", "alan"):
            handles += export.batch_trigger([item(tenant, 1), item(tenant, 2)]).sync().runs
        for handle in handles:
            runs.poll(handle, timeout=60).sync()
        last = {}
        for tenant in ("ada", "grace", "alan"):
            found = list(runs.list(tag=f"tenant:{tenant}", limit=100).sync())
            last[tenant] = max(run.finished_at for run in found)
            print(
                f"{tenant:<7} {len(found):>2} exports, never more than {most_at_once(found)} at once"
            )
        others = max(last["grace"], last["alan"])
        print(f"grace and alan were done before ada: {others < last['ada']}")
