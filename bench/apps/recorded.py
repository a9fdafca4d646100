"""The app of Celery's side with the one line added: its tasks are recorded."""

from __future__ import annotations

import os

from bench.apps.plain import app
from trigger_celery import TriggerCelery

trigger = TriggerCelery(app, redis_url=os.environ["BENCH_URL"], env="bench")
