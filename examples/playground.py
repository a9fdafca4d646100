"""A server and a worker for as long as a script runs, so that each example stays on its subject.

Nothing has to be installed or running. When TRIGGER_REDIS_URL is set, that server is used.

Output:
    re: store   \S+ \d+\.\d+\.\d+
    re: worker  process \d+
    both have ended
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from trigger_celery.dev.embedded import EmbeddedServer

QUIET = "ignore:You're running the worker with superuser privileges"


@contextmanager
def playground(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker with the tasks of *script*, and a server unless one is configured."""
    configured = "TRIGGER_REDIS_URL" in os.environ
    with nullcontext() if configured else EmbeddedServer() as server:
        if server is not None:
            os.environ["TRIGGER_REDIS_URL"] = server.url
            os.environ["CELERY_BROKER_URL"] = server.broker_url
        worker = subprocess.Popen(
            [sys.executable, "-W", QUIET, "-m", "trigger_celery.cli", "--quiet", "worker"]
            + ["--app", script, "--loglevel", "warning"],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield worker
        finally:
            worker.terminate()
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


if __name__ == "__main__":
    with EmbeddedServer() as server:
        print(f"store   {server.binary.product} {server.binary.version}")
    with playground(__file__.replace("playground.py", "hello.py")) as worker:
        print(f"worker  process {worker.pid}")
    print("both have ended")
