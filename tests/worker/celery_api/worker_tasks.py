"""What a test worker imports."""

from tests.worker.celery_api.api_tasks import worker_app

app = worker_app()
