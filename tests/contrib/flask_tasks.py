"""Tasks of a Flask app: what workers of the tests execute."""

from __future__ import annotations

import os

from flask import Flask, current_app, g

from trigger_celery import task, wait
from trigger_celery.contrib.flask import Trigger

flask_app = Flask("press")
flask_app.config.update(
    PUBLISHER="us",
    CELERY={
        "broker_url": os.environ["CELERY_BROKER_URL"],
        "result_backend": os.environ["CELERY_RESULT_BACKEND"],
    },
)
app = Trigger(flask_app).celery


def seen() -> list[object]:
    """Tell whose context this is, and whether somebody else used it."""
    told = [current_app.config["PUBLISHER"], "used" in g]
    g.used = True
    return told


@task(id="sync")
def sync(payload):
    return seen()


@task(id="async", on_success=lambda: current_app.logger.info("a hook has the context, too"))
async def asynchronous(payload):
    before = seen()
    await wait.for_duration(0.1)
    return [*before, current_app.config["PUBLISHER"]]


@app.task(name="plain")
def plain():
    return seen()
