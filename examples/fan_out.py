r"""Fan out: one run makes a thousand child runs, waits for all of them, and sums their results.

Parent and children share a queue with a limit of 50, and that is no trouble: a run that waits holds no
slot.

Output:
    re: 1,000 runs in \d+\.\d\d s, \d+ a second
    re: at once: (\d|[1-4]\d|50) at most, the limit is 50
    the sum of the first thousand squares is 333,833,500
"""

import asyncio

from celery import Celery

from trigger_celery import Run, TriggerCelery, queue, runs, task, tasks

app = Celery("fan_out")
TriggerCelery(app)

squares = queue(name="squares", concurrency_limit=50)


@task(id="square", queue=squares)
async def square(number: int) -> int:
    await asyncio.sleep(0.01)  # a call to some service
    return number * number


@task(id="sum-of-squares", queue=squares)
async def sum_of_squares(count: int) -> int:
    items = [{"payload": number} for number in range(1, count + 1)]
    return sum(await square.batch_trigger_and_wait(items).unwrap())


def children() -> list[Run]:
    found, cursor = [], None
    while True:
        page = runs.list(task="square", limit=100, after=cursor).sync()
        found += page.runs
        if (cursor := page.next_cursor) is None:
            return found


def most_at_once(found: list[Run]) -> int:
    moments = [(run.started_at, 1) for run in found] + [(run.finished_at, -1) for run in found]
    now = most = 0
    for _, step in sorted(moments):  # at the same moment, ends come before starts
        now += step
        most = max(most, now)
    return most


if __name__ == "__main__":
    from playground import playground

    with playground(__file__):
        run = runs.poll(tasks.trigger("sum-of-squares", 1000).sync(), timeout=60).sync()
        seconds = run.duration_ms / 1000
        print(f"1,000 runs in {seconds:.2f} s, {1000 / seconds:.0f} a second")
        print(f"at once: {most_at_once(children())} at most, the limit is 50")
        print(f"the sum of the first thousand squares is {run.output:,}")
