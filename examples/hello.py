"""The smallest app: one task, one run, its output.

Output:
    Hello, Ada!
"""

from celery import Celery

from trigger_celery import TriggerCelery, runs, task, tasks

app = Celery("hello")
TriggerCelery(app)


@task(id="hello")
async def hello(payload: dict) -> str:
    return f"Hello, {payload['name']}!"


if __name__ == "__main__":
    from playground import playground

    with playground(__file__):
        handle = tasks.trigger("hello", {"name": "Ada"}).sync()
        print(runs.poll(handle).sync().output)
