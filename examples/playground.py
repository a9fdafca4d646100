r"""A server and a worker for as long as a script runs, so that each example stays on its subject.

Nothing has to be installed or running. When TRIGGER_REDIS_URL is set, that server is used.

Output:
    re: store   \S+ \d+\.\d+\.\d+
    re: worker  process \d+
    both have ended
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from trigger_celery.dev.embedded import EmbeddedServer

Worker = subprocess.Popen[bytes]
ROOT = "ignore:You're running the worker with superuser privileges"


@contextmanager
def playground(
    script: str, *, worker: bool = True, quiet: bool = False
) -> Iterator[Callable[[], Worker]]:
    """Run a worker with the tasks of *script*, and a server unless one is configured.

    With `worker=False` it is started by calling what is yielded. *quiet* keeps the tracebacks of
    runs that fail on purpose from the terminal.
    """
    with ExitStack() as stack:
        if "TRIGGER_REDIS_URL" not in os.environ:
            server = stack.enter_context(EmbeddedServer())
            os.environ["TRIGGER_REDIS_URL"] = server.url
            os.environ["CELERY_BROKER_URL"] = server.broker_url

        def start() -> Worker:
            process = start_worker(script, "critical" if quiet else "warning")
            stack.callback(end, process)
            return process

        if worker:
            start()
        yield start


def start_worker(script: str, level: str) -> Worker:
    command = [sys.executable, "-W", ROOT, "-m", "trigger_celery.cli", "--quiet", "worker"]
    return subprocess.Popen(
        [*command, "--app", script, "--loglevel", level],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def end(worker: Worker) -> None:
    """Let the worker end its runs; one that does not is ended."""
    worker.terminate()
    try:
        worker.wait(10)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


if __name__ == "__main__":
    with EmbeddedServer() as found:
        print(f"store   {found.binary.product} {found.binary.version}")
    with playground(__file__.replace("playground.py", "hello.py"), worker=False) as begin:
        print(f"worker  process {begin().pid}")
    print("both have ended")
