"""The example project with one more app, and with one thread for async code."""

from shop.settings import *  # noqa: F403
from shop.settings import INSTALLED_APPS, TRIGGER_CELERY

INSTALLED_APPS = [*INSTALLED_APPS, "tests.contrib.probes"]
# Upper case, as Django writes names; the app is not where the settings are.
TRIGGER_CELERY = {**TRIGGER_CELERY, "APP": "shop.celery:app", "ASYNC_THREADS": 1, "WAIT_HOLD": 0.3}
