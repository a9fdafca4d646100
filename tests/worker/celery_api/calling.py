"""A caller that knows the tasks of its workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.worker.celery_api import api_tasks
from tests.worker.workers import Deployment

MODULE = "tests.worker.celery_api.worker_tasks"
PATIENCE = 20


class Api:
    """A deployment with the tasks of its worker on the caller's app."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.app: Any = deployment.app
        deployment.binding.configure(
            redis_url=deployment.server.url, manage=api_tasks.MANAGE, **deployment.settings
        )
        self.ours: SimpleNamespace = api_tasks.ours()
        self.plain = api_tasks.plain(self.app)
        self.taken = api_tasks.taken(self.app)
        self.app.finalize()
