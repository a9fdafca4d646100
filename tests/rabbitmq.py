"""A RabbitMQ server of a test session's own: nothing of it is shared, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from kombu import Connection

from tests.waiting import wait_until

START_TIMEOUT = 90.0


def find_server() -> str | None:
    """Return the program that starts the server in the foreground, if it is installed.

    Not the one on the PATH: in Debian's packages that changes the user first.
    """
    places = [Path("/usr/lib/rabbitmq/bin"), *Path("/opt").glob("rabbitmq*/sbin")]
    return next(
        (found for place in places if (found := shutil.which("rabbitmq-server", path=place))), None
    )


def version() -> str | None:
    """Return the version of the server that is installed."""
    program = find_server()
    if program is None:
        return None
    return Path(program).resolve().parent.parent.name.rpartition("-")[2]


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RabbitServer:
    """The server, its name service and its data in a folder, on ports that were free."""

    def __init__(self, program: str, folder: Path) -> None:
        self._folder = folder
        port, names, nodes = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        self._names = {"ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        environment = {
            **{name: value for name, value in os.environ.items() if "RABBITMQ" not in name},
            **self._names,
            "HOME": str(folder),  # for its cookie
            "RABBITMQ_NODENAME": f"tests-{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(nodes),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        }
        self._log = folder / "output"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [program],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Return when it takes connections."""
        wait_until(self._answers, "RabbitMQ answers", timeout=START_TIMEOUT, interval=0.1)

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"RabbitMQ ended:\n{self._log.read_text(errors='replace')}")
        with contextlib.suppress(OSError), Connection(self.url, connect_timeout=2) as connection:
            connection.connect()
            return True
        return False

    def kill(self) -> None:
        """End the server as a crash does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def close(self) -> None:
        """End the server, and the name service that it started."""
        self.kill()
        epmd = shutil.which("epmd") or "epmd"
        kill = [epmd, "-port", self._names["ERL_EPMD_PORT"], "-kill"]

        def gone() -> bool:  # it refuses as long as it has not noticed that the server is gone
            told = subprocess.run(kill, check=False, capture_output=True, text=True)
            return "Killed" in told.stdout or "Cannot connect" in told.stdout + told.stderr

        wait_until(gone, "the name service ends", interval=0.1)
