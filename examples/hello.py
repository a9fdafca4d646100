"""The smallest app: one task, one run, its output.

Output:
    Hello, Ada!
"""

from celery import Celery

from trigger_celery import TriggerCelery, task, tasks

app = Celery("hello")
TriggerCelery(app)


@task(id="hello")
async def hello(payload: dict) -> str:
    return f"Hello, {payload['name']}!"


if __name__ == "__main__":
    from playground import playground

    with playground(__file__):
        print(tasks.trigger_and_poll("hello", {"name": "Ada"}).sync().output)
