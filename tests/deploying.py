"""What a deploy leaves behind: a worker with the code of this process was there and is gone."""

from __future__ import annotations

from trigger_celery import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine import sessions
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.worker.session import declare_queue


def deploy(trigger: TriggerCelery, *queues: str, tasks: tuple[str, ...] = ()) -> None:
    """Declare the tasks and queues of this process, and others by their names."""
    known = {name: definition.queue.name for name, definition in REGISTRY.tasks.items()}
    known.update({name: f"task/{name}" for name in tasks})
    declared = [
        sessions.TaskDeclaration(name, queue, trigger.worker_queue(None, name), 1, {})
        for name, queue in known.items()
    ]
    own = [declare_queue(queue) for queue in REGISTRY.queues.values()]
    session = sessions.SessionDeclaration(
        "deploy", 30_000, {}, [], declared, [*own, *map(QueueDeclaration, queues)], None
    )
    trigger.store.run_blocking(sessions.register(trigger.scope, session))
    trigger.store.run_blocking(sessions.close(trigger.scope, "deploy", 1000))
