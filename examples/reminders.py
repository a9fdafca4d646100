r"""Reminders for many users: one task, a schedule for each user, in the user's time zone.

A user chooses a time; the web view that stores it calls `remind_at`. The deduplication key is the user's,
so a user who changes the time gets another time, not a second reminder. The external id comes back in the
payload of each run: it says whom to remind.

As a script it starts a worker and runs one reminder by hand. To let the clock do it:

    trigger-celery dev examples/reminders.py

Output:
    ada    08:00 in America/New_York
    grace  07:30 in Europe/London
    alan   21:00 in Australia/Sydney
    grace has chosen 09:15, with the same schedule: True
    alan is on holiday, next reminder: None
    active schedules: ada, grace
    re: grace, don't forget the milk \(due \d\d:\d\d\)
"""

from celery import Celery

from trigger_celery import Schedule, SchedulePayload, TriggerCelery, runs, scheduled_task, schedules

app = Celery("reminders")
TriggerCelery(app)

USERS = {  # a table in your database
    "ada": ("America/New_York", "8:00"),
    "grace": ("Europe/London", "7:30"),
    "alan": ("Australia/Sydney", "21:00"),
}


@scheduled_task(id="remind")
async def remind(payload: SchedulePayload) -> str:
    user = payload.external_id
    if user not in USERS:
        raise LookupError(f"no user {user!r}")
    return f"{user}, don't forget the milk (due {payload.timestamp:%H:%M})"


def remind_at(user: str, time: str, zone: str) -> Schedule:
    """What the view of the user's settings calls. Called again, it changes the schedule."""
    hour, minute = time.split(":")
    return schedules.create(
        task=remind,
        cron=f"{int(minute)} {int(hour)} * * *",
        timezone=zone,
        external_id=user,
        deduplication_key=f"{user}-reminder",
    ).sync()


def local_time(schedule: Schedule) -> str:
    minute, hour = schedule.cron.split()[:2]
    return f"{int(hour):02}:{int(minute):02}"


if __name__ == "__main__":
    from playground import playground

    with playground(__file__):
        made = {user: remind_at(user, time, zone) for user, (zone, time) in USERS.items()}
        for user, schedule in made.items():
            print(f"{user:<6} {local_time(schedule)} in {schedule.timezone}")

        moved = remind_at("grace", "9:15", "Europe/London")
        same = moved.id == made["grace"].id
        print(f"grace has chosen {local_time(moved)}, with the same schedule: {same}")
        paused = schedules.deactivate(made["alan"]).sync()
        print(f"alan is on holiday, next reminder: {paused.next_run}")
        active = [one.external_id for one in schedules.list(task=remind).sync() if one.active]
        print(f"active schedules: {', '.join(sorted(filter(None, active)))}")

        by_hand = remind.trigger({"external_id": "grace"}).sync()
        print(runs.poll(by_hand, timeout=60).sync().output)
