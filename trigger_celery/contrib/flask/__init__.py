"""Flask: `Trigger(app)`, or `trigger = Trigger()` and `trigger.init_app(app)` in a factory.

Binds a Celery app with the settings of `TRIGGER_CELERY`, executes runs in the application context,
and adds `flask trigger …`.
"""

from trigger_celery.contrib.flask.extension import Trigger

__all__ = ["Trigger"]
