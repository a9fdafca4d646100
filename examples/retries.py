"""Retries: how often, how soon, what the record keeps, and how a task says that it is no use.

Output:
    fetch       completed after 3 attempts: 200 OK
    re: attempt 1  HTTPError: 503
    re: attempt 2  HTTPError: 503
    charge      failed after 1 attempt: AbortTaskRunError: the card was refused
    fragile     failed after 2 attempts: RuntimeError: still broken
"""

from celery import Celery

from trigger_celery import AbortTaskRunError, Context, Run, TriggerCelery, runs, task, tasks

app = Celery("retries")
TriggerCelery(app)


class HTTPError(Exception):
    """What an HTTP client would raise."""


@task(id="fetch", retry={"max_attempts": 5, "min_timeout_in_ms": 100, "factor": 2})
async def fetch(payload: str, ctx: Context) -> str:
    if ctx.attempt.number < 3:
        raise HTTPError("503")
    return "200 OK"


@task(id="charge", retry={"max_attempts": 5})
def charge(payload: dict) -> None:
    raise AbortTaskRunError("the card was refused")  # a retry would not help


@task(id="fragile", retry={"max_attempts": 5, "min_timeout_in_ms": 50})
def fragile() -> None:
    raise RuntimeError("still broken")


def outcome(run: Run) -> str:
    tries = f"{run.attempt_count} attempt{'s' if run.attempt_count > 1 else ''}"
    if run.is_success:
        return f"completed after {tries}: {run.output}"
    return f"failed after {tries}: {run.error.name}: {run.error.message}"


if __name__ == "__main__":
    from playground import playground

    with playground(__file__, quiet=True):
        run = runs.poll(tasks.trigger("fetch", "https://example.org").sync()).sync()
        print(f"fetch       {outcome(run)}")
        for attempt in run.attempts:
            if attempt.error:
                print(f"attempt {attempt.number}  {attempt.error.name}: {attempt.error.message}")
        charged = tasks.trigger("charge", {"amount": 12}).sync()
        print(f"charge      {outcome(runs.poll(charged).sync())}")
        # The caller may allow fewer attempts than the task does.
        fragile = tasks.trigger("fragile", max_attempts=2).sync()
        print(f"fragile     {outcome(runs.poll(fragile).sync())}")
