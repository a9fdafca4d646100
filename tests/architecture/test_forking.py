"""A forked program is to itself and to who started it what one in a new interpreter is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forking
from tests.architecture.source import ROOT
from tests.waiting import wait_until

PROGRAM = """
import atexit, os, sys, threading, warnings

print(__name__, __file__, sys.argv, sys.path, os.getcwd(), repr(sys.stdin.read()))
print(os.environ["GIVEN"], "HOME" in os.environ, os.getsid(0) == os.getpid())
print(sorted(os.listdir("/proc/self/fd"))[:3], warnings.filters[0][0], len(threading.enumerate()))
atexit.register(print, "at exit")
late = threading.Timer(0.01, lambda: print("from", sys.modules["__main__"].__dict__.get("name")))
name = "a thread"
late.start()
if sys.argv[1:] == ["raise"]:
    raise ValueError("no")
sys.exit(sys.argv[1] if sys.argv[1:] == ["said"] else 7)
"""


@pytest.fixture
def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "always", "GIVEN": "ü"}


@pytest.mark.parametrize(
    "arguments",
    [["program.py"], ["program.py", "said"], ["program.py", "raise"], ["-W", "once", "program.py"]],
    ids=" ".join,
)
def test_the_same_program(
    tmp_path: Path, environment: dict[str, str], arguments: list[str]
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, *arguments]
    forked, new = (
        forking.run(command, env=environment, cwd=tmp_path, timeout=60, start=start)
        for start in (forking.start, forking.start_interpreter)
    )
    assert forked.stdout == new.stdout
    assert forked.returncode == new.returncode
    assert forked.stderr.splitlines()[-1:] == new.stderr.splitlines()[-1:]


def test_a_module_as_a_program(tmp_path: Path, environment: dict[str, str]) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__main__.py").write_text("import sys; print(__name__, sys.argv, sys.path[0])")
    command = [sys.executable, "-m", "pack", "x"]
    done = forking.run(command, env=environment, cwd=tmp_path, timeout=60)
    said = f"__main__ {[str(package / '__main__.py'), 'x']} {tmp_path}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_its_process_id_is_its_own_until_its_end_was_asked_for(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "program.py").write_text("import time\ntime.sleep(60)\n")
    with Path(os.devnull).open("wb") as nothing:
        process = forking.start(
            [sys.executable, "program.py"],
            env=environment, cwd=tmp_path, stdout=nothing, stderr=nothing,
        )  # fmt: skip
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    stat = Path(f"/proc/{process.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", "it has ended")
    assert process.wait(30) == -signal.SIGTERM
    assert not stat.exists()
    assert process.poll() == -signal.SIGTERM
    process.kill()  # nobody


def test_what_an_interpreter_reads_at_its_start_is_refused(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    environment["PYTHONHASHSEED"] = "7"
    with pytest.raises(AssertionError, match="PYTHONHASHSEED is read before it could be set"):
        forking.run([sys.executable, "-m", "this"], env=environment, cwd=tmp_path, timeout=60)
