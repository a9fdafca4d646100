r"""When a run starts: later, by a delay; sooner, by a priority; never, when it is canceled in time.

A priority is a head start in seconds: with `priority=60` a run stands in the queue as if it had
been triggered a minute earlier.

Output:
    re: reminder waits: PENDING_VERSION
    re: reminder ran [\d.]+ s after it was triggered
    order of the reports: urgent, 1, 2, 3
    newsletter: CANCELED
"""

import asyncio

from celery import Celery

from trigger_celery import TriggerCelery, queue, runs, task

app = Celery("delays_and_priority")
TriggerCelery(app)


@task(id="remind")
async def remind(payload: str) -> None:
    """Stand for something that happens later."""


@task(id="report", queue=queue(name="reports", concurrency_limit=1))
async def report(payload: str) -> None:
    await asyncio.sleep(0.1)


if __name__ == "__main__":
    from playground import playground

    # No worker was ever there: what is triggered here waits in the store until one knows the tasks.
    with playground(__file__, worker=False) as start_worker:
        reminder = remind.trigger("call Grace", delay="2s").sync()
        print(f"reminder waits: {runs.retrieve(reminder).sync().status}")
        newsletter = remind.trigger("newsletter", delay="1d").sync()
        handles = {name: report.trigger(name).sync() for name in ("1", "2", "3")}
        handles["urgent"] = report.trigger("urgent", priority=60).sync()

        start_worker()
        done = {name: runs.poll(handle, timeout=60).sync() for name, handle in handles.items()}
        run = runs.poll(reminder, timeout=60).sync()
        late = (run.started_at - run.created_at).total_seconds()
        print(f"reminder ran {late:.2f} s after it was triggered")
        order = sorted(done, key=lambda name: done[name].started_at)
        print(f"order of the reports: {', '.join(order)}")
        print(f"newsletter: {runs.cancel(newsletter).sync().status}")
