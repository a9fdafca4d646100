"""The scheduler: RedBeat's beat with our schedules in it.

`celery -A proj beat -S trigger_celery.scheduler:TriggerScheduler`, and the same for `worker -B`. An
app that is bound uses it without `-S`, unless `beat_scheduler` names another.
"""

from trigger_celery.scheduler.entry import CronSchedule, TriggerEntry
from trigger_celery.scheduler.scheduler import TriggerScheduler

__all__ = ["CronSchedule", "TriggerEntry", "TriggerScheduler"]
