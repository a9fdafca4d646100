"""The app of the workers that the kill matrix kills."""

import json
import os

from celery import Celery, signals

from tests.faults.kill_matrix import WAYS
from tests.faults.matrix_tasks import MANAGE, finishing_blocking, ours, plain
from trigger_celery import TriggerCelery

# Processes that are spawned import what is included, or where tasks are: not here.
app = Celery("matrix", include=[__name__])
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    **json.loads(os.environ.get("TEST_CELERY_CONF", "{}")),
)
TriggerCelery(app, manage=MANAGE)
plain(app)
for way in WAYS:
    ours(way.name)
# After the library, which has its say when a task has ended.
signals.task_postrun.connect(finishing_blocking, weak=False)
