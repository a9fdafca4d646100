"""The process that `tests.forking` forks programs from. It is a program of its own and imports no tests.

It reads requests from the socket whose descriptor is its first argument. For each it forks a keeper, which forks the
program and is to the tests' process what the kernel is to a parent: it says how the program ended, and
keeps the process id taken until that was heard.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import socket
import sys
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# What any program of ours and of Celery imports sooner or later.
IMPORTED = (
    "celery.app.amqp", "celery.app.control", "celery.app.events", "celery.app.log",
    "celery.backends.redis", "celery.fixups.django", "celery.loaders.app",
    "kombu.transport.memory", "kombu.transport.redis", "pydantic.main", "pydantic.type_adapter",
    "trigger_celery.dev.embedded",
)  # fmt: skip
# `python -m celery` imports these at once, and what its workers and beats need later.
COMMANDS = {
    "celery": (
        "celery.bin.celery", "billiard.popen_fork", "billiard.sharedctypes", "celery.apps.beat",
        "celery.apps.worker", "celery.concurrency.prefork", "celery.concurrency.solo",
        "celery.concurrency.thread", "celery.worker.autoscale", "celery.worker.consumer",
        "celery.worker.loops", "celery.worker.pidbox", "celery.worker.strategy",
        "celery.worker.worker", "redbeat.schedulers", "trigger_celery.cli.plugin",
        "trigger_celery.worker.bootsteps", "trigger_celery.worker.pool",
    ),
    "trigger_celery.cli": ("trigger_celery.cli.main",),
}  # fmt: skip

Request = dict[str, Any]


def receive(requests: socket.socket) -> tuple[Request, list[int]] | None:
    """Return the next request with its four descriptors, or None: there will be none."""
    head, descriptors, _, _ = socket.recv_fds(requests, 4, 4)
    if not head:
        return None
    left, body = int.from_bytes(head, "big"), b""
    while left > len(body):
        if not (more := requests.recv(left - len(body))):
            return None
        body += more
    return json.loads(body), descriptors


def keep(child: int, line: socket.socket) -> None:
    """Say the program's exit code, as `subprocess` counts, and let it go when that was heard."""
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    line.sendall(b"%d\n" % code)
    line.recv(1)  # nothing comes: the other side closes its half, or has ended
    os.waitpid(child, 0)


def serve(requests: socket.socket) -> Request | None:
    """Fork what is asked for; returns in each program with its request, and here at the end."""
    while received := receive(requests):
        request, (*standard, told) = received
        if os.fork() == 0:
            requests.close()
            line = socket.socket(fileno=told)
            child = os.fork()
            if child == 0:
                # By now its parent may signal the whole session.
                os.setsid()
                line.sendall(b"%d\n" % os.getpid())
                line.close()
                for number, descriptor in enumerate(standard):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                return request
            for descriptor in standard:
                os.close(descriptor)
            try:
                keep(child, line)
            finally:
                os._exit(0)
        for descriptor in (*standard, told):
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass  # keepers that are done
    return None


def become(request: Request) -> None:
    """Become what a new interpreter with these arguments would be, and run the program."""
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    arguments: list[str] = request["arguments"]
    for action in warnings_of(arguments):
        warnings.simplefilter(action)
    kind, *_ = arguments
    place = request["cwd"] if kind == "-m" else str(Path(kind).resolve().parent)
    path = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.path[:] = [place, *path, *BASE]
    importlib.invalidate_caches()
    if kind == "-m":
        sys.argv[:] = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        run_file(kind, arguments)


def warnings_of(arguments: list[str]) -> Sequence[str]:
    """Take `-W action` off the arguments; return it behind the actions of PYTHONWARNINGS."""
    actions = [one for one in os.environ.get("PYTHONWARNINGS", "").split(",") if one]
    while arguments[0] == "-W":
        actions.append(arguments[1])
        del arguments[:2]
    return actions


def run_file(name: str, arguments: Sequence[str]) -> None:
    """Run a script in a `__main__` that stays until the interpreter ends."""
    sys.argv[:] = arguments
    name = str(Path(name).absolute())
    module = types.ModuleType("__main__")
    module.__file__ = name
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    exec(compile(Path(name).read_bytes(), name, "exec"), vars(module))  # noqa: S102


if __name__ == "__main__":
    # What an interpreter has on its path whatever PYTHONPATH says, and where it was started.
    ours = {str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    BASE = [place for place in sys.path if place not in ours]
    sys.path[:] = [*os.environ["PYTHONPATH"].split(os.pathsep), *BASE]
    for imported in (*IMPORTED, *COMMANDS.get(sys.argv[2], ())):
        importlib.import_module(imported)
    gc.collect()
    gc.freeze()
    # At this level, and not in a function: the program ends as the interpreter does.
    if (program := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        become(program)
