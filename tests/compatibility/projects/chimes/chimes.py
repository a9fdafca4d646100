"""A clock: `celery -A chimes worker -B` sends what it rings."""

import os
from pathlib import Path

from celery import Celery
from celery.schedules import crontab

app = Celery("chimes")
app.conf.timezone = "Europe/Berlin"


@app.on_after_configure.connect
def wind_up(sender, **kwargs):
    sender.add_periodic_task(0.3, ring.s("quarter"), name="each quarter")
    sender.add_periodic_task(0.4, ring.s("half"), expires=60)
    sender.add_periodic_task(crontab(hour=12, minute=0), ring.s("noon"), name="at noon")


@app.task
def ring(what):
    with Path(os.environ["RUNG"]).open("a") as rung:
        rung.write(f"{what}\n")
    return what
