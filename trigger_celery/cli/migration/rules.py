"""Every rule of `migrate --check`; docs/reference/migration-rules.md is made from them."""

from __future__ import annotations

from typing import Final

from trigger_celery.cli.migration.findings import Rule, Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

ALL: Final = (
    Rule(
        "TC101", "countdown-over-visibility-timeout", _E,
        "A countdown or eta beyond the broker's visibility timeout",
        "Redis and SQS deliver a message again that is not acknowledged within the visibility timeout, and a "
        "worker holds a delayed message in memory all that time: the task runs more than once.",
        "Make it a @task and trigger it with delay=…: delays are kept in the store, of any length.",
    ),
    Rule(
        "TC102", "waits-for-a-result-in-a-task", _E,
        "A task waits for the result of another",
        "The waiting task holds its slot of the worker; when all slots wait, none is left to do the work: deadlock.",
        "Use await child.trigger_and_wait(payload): the slot is free meanwhile. With plain Celery, a chain.",
    ),
    Rule(
        "TC103", "sent-before-commit", _E,
        "A task is sent before the transaction is committed, or before the object is saved",
        "The worker may begin before the row is there, and finds nothing; after a rollback the task runs all the same.",
        "Send it with transaction.on_commit(…), delay_on_commit(…), or trigger_on_commit.",
    ),
    Rule(
        "TC104", "object-as-argument", _W,
        "A model instance, request, open file or function is passed to a task",
        "It cannot be serialised, or is out of date when the task begins.",
        "Pass the id (or the data) and read the object in the task.",
    ),
    Rule(
        "TC105", "endless-retry", _E,
        "A task may be retried for ever",
        "max_retries=None has no end, and a bare `except:` retries what can never succeed, SystemExit included.",
        "Give max_retries, or retry={'max_attempts': 5}; catch what can succeed later; raise AbortTaskRunError for the rest.",
    ),
    Rule(
        "TC106", "rate-limit-per-worker", _N,
        "rate_limit counts per worker",
        "With four workers a rate_limit of 10/m is 40/m, and waiting tasks sit in the worker's memory.",
        "For the limit of a vendor's API use queue(rate_limit='10/m') or concurrency_limit: over all workers.",
    ),
    Rule(
        "TC107", "chord-or-group-out-of-bounds", _W,
        "A chord whose header ignores results, or a group of more than 1,000",
        "A chord's body never runs when a header task ignores its result; a large group is built in memory, at once.",
        "Use batch_trigger_and_wait for fan-outs, 1,000 items a batch.",
    ),
    Rule(
        "TC108", "several-beats", _W,
        "More than one beat, or beat inside a worker",
        "Each beat sends every entry: with two of them, or a worker with -B that is scaled, tasks run twice.",
        "Run one beat, or carry the entries over with `trigger-celery schedules import`: a schedule fires once, however many beats there are.",
    ),
    Rule(
        "TC109", "acks-late-alone", _W,
        "acks_late without reject_on_worker_lost",
        "When the worker's process is killed, the message is acknowledged and the work is lost all the same.",
        "Add reject_on_worker_lost=True if the task may run twice; a @task has this by its retry policy.",
    ),
    Rule(
        "TC110", "no-time-limit", _W,
        "Network calls in a task without a time limit",
        "A connection that hangs holds a slot of the worker until somebody restarts it.",
        "Give the call a timeout=, the task a time_limit, or a @task max_duration='5m'.",
    ),
    Rule(
        "TC111", "eager-tests", _N,
        "task_always_eager in tests",
        "Eager mode skips serialisation and delays, and gets retries and chords wrong.",
        "Use the fixtures trigger_env (real engine, in process) or trigger_inline (docs/how-to/testing.md).",
    ),
    Rule(
        "TC112", "own-locks", _N,
        "A lock keeps a task from running twice",
        "A lock with a timeout lets two in when the work takes longer, and nobody in after a crash.",
        "Trigger with idempotency_key=…, or put the task in a queue with concurrency_limit=1 and a concurrency_key.",
    ),
    Rule(
        "TC113", "own-progress", _N,
        "Progress by ProgressRecorder or update_state",
        "It lives in the result backend, under the id of the one task, and is polled.",
        "metadata.set('progress', 0.4) in the task; readers subscribe with runs.subscribe_to_run.",
    ),
    Rule(
        "TC114", "flower-or-exporter", _N,
        "Flower or a Celery exporter is deployed",
        "They see events, which are lost when nobody listens, and cut arguments.",
        "They go on working beside trigger_celery. Runs keep everything: trigger-celery runs list.",
    ),
    Rule(
        "TC115", "pickle", _W,
        "Pickle as a serializer",
        "Whoever can write to the broker can run code in the workers.",
        "Use JSON. Payloads of a @task may hold dates, sets, decimals, UUIDs and bytes as they are.",
    ),
    Rule(
        "TC116", "beat-schedule", _N,
        "A schedule of beat",
        "One beat process has to live; an occurrence is lost while it does not.",
        "Carry it over with `trigger-celery schedules import`, or declare it with schedules.task(…).",
    ),
    Rule(
        "TC117", "prefetch", _W,
        "worker_prefetch_multiplier above 1 with long tasks",
        "Messages wait in a busy worker while others are idle.",
        "Set worker_prefetch_multiplier = 1. Runs of a @task are taken only when there is a free slot.",
    ),
    Rule(
        "TC118", "task-not-at-module-level", _E,
        "A task is defined in a function or under __main__",
        "It exists only where that code has run: workers answer `unregistered task`.",
        "Define tasks at the top of a module that workers import; @shared_task needs no app.",
    ),
    Rule(
        "TC119", "framework-context", _W,
        "A task is sent in a signal or save(), or uses Flask's context without one",
        "save() and signals run inside of transactions, and once per row of a bulk; current_app outside of an app "
        "context raises in the worker.",
        "Django: transaction.on_commit(…) where the use case ends. Flask: with app.app_context(), or a Task class that pushes it.",
    ),
    Rule(
        "TC120", "sleeps-or-polls", _W,
        "A task sleeps or polls",
        "It holds a slot of the worker and does nothing.",
        "await wait.for_duration(seconds=…) frees the slot; wait.for_token replaces polling for an answer.",
    ),
)  # fmt: skip

RULES: Final = {rule.id: rule for rule in ALL}
"""Every rule by its id."""
