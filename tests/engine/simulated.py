"""Worker processes that do what a program says, one call of the engine a step, and read their mail.

For tests that choose the order of the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.driving import Engine
from tests.keyspace import Keyspace, keyspace
from tests.police_waits import is_done
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.triggering import NewRun
from trigger_celery.model.transitions import FINAL


@dataclass(frozen=True)
class Ask:
    """Begin to wait; with *park* the slot is given back in the same call."""

    target: str
    park: bool = True


@dataclass(frozen=True)
class Join:
    """Go on when all of the targets are done."""

    targets: tuple[str, ...]


@dataclass(frozen=True)
class Make:
    """Make a child."""

    new: NewRun


@dataclass(frozen=True)
class Send:
    """Make one call of a batch."""

    batch: str
    new: tuple[NewRun, ...]
    call: int


Line = Ask | Join | Make | Send
Program = tuple[Line, ...]


def wait(target: str) -> Program:
    """Return the lines of a task that waits for one thing."""
    return (Ask(target), Join((target,)))


def gather(*targets: str) -> Program:
    """Return the lines of a task that waits for several things at once."""
    return (*(Ask(target, park=False) for target in targets), Join(targets))


@dataclass
class Memory:
    """A run in a process: where it is, and what it was told."""

    grant: Grant
    program: Program
    at: int = 0
    parked: bool = False
    ready: set[str] = field(default_factory=set)

    def complain_of_sleeping_on(self, space: Keyspace) -> None:
        """Fail if all that it waits for in its present line is done."""
        line = self.program[self.at] if self.at < len(self.program) else None
        if self.parked and isinstance(line, Join):
            assert not all(is_done(space, target) for target in line.targets), f"{self} sleeps on"

    def is_over(self, line: Line) -> bool:
        """Say whether a line needs no call: all that it waits for is done."""
        return isinstance(line, Join) and self.ready.issuperset(line.targets)


class Process:
    """A worker process of one session. It may die, or lose its lease and not know it."""

    def __init__(self, world: World, session: str) -> None:
        self.world = world
        self.engine = world.engine
        self.session = session
        self.alive = True
        self.memory: dict[str, Memory] = {}

    def take(self, want: int = 10) -> bool:
        """Take runs; those that were executed before are executed from the top."""
        runs = self.engine.dequeue(self.session, want).runs if self.alive else None
        for grant in runs or ():
            self.memory[grant.id] = Memory(grant, self.world.programs.get(grant.id, ()))
        return bool(runs)

    def step(self, run: str) -> bool:
        """Do the next thing of a run, if it has its slot: one call of the engine."""
        if not self.alive:
            return False
        self.read_mail()
        memory = self.memory.get(run)
        if memory is None or memory.parked:
            return False
        while memory.at < len(memory.program) and memory.is_over(memory.program[memory.at]):
            memory.at += 1
        if memory.at == len(memory.program):
            self._end(memory)
        else:
            self._line(memory, memory.program[memory.at])
        return True

    def _end(self, memory: Memory) -> None:
        if self.engine.end(memory.grant) == "ok":
            self.world.accepted.append(memory.grant.id)
        del self.memory[memory.grant.id]

    def _line(self, memory: Memory, line: Line) -> None:
        match line:
            case Ask(target, park):
                answer = self.engine.ask_to_wait(
                    memory.grant, target, path=str(memory.at), call=target, park=park
                )
                self._answered(memory, answer.word, (target,) if answer.word == "ready" else ())
                memory.at += 1
            case Join(targets):
                pending = [target for target in targets if target not in memory.ready]
                parked = self.engine.park(memory.grant, *pending)
                self._answered(memory, parked.word, parked.more)
            case Make(new):
                self.engine.child(memory.grant, new)
                memory.at += 1
            case Send(batch, new, call):
                _, calls = self.engine.batch_calls(new, memory.grant, id=batch)
                self.engine.store.send(calls[call])
                memory.at += 1

    def _answered(self, memory: Memory, word: str, ready: Sequence[str]) -> None:
        memory.ready |= set(ready)
        if word == "parked":
            memory.parked = True
        elif word in ("stale", "cycle", "unknown"):
            self.world.refused.append(word)
            if word == "stale":
                del self.memory[memory.grant.id]
            else:
                self._end(memory)

    def read_mail(self) -> bool:
        """React to every message, as a worker does."""
        messages = self.engine.mail(self.session) if self.alive else []
        for message in messages:
            word, _, rest = message.partition(" ")
            run, _, target = rest.partition(" ")
            memory = self.memory.get(run)
            if memory is None or word not in ("done", "resume", "cancel"):
                continue
            if word == "cancel":
                if memory.grant.epoch == target:
                    del self.memory[run]
                continue
            memory.ready |= {target} - {"-"}
            if word == "resume":
                memory.parked = False
        return bool(messages)

    def evict(self, run: str) -> None:
        """Give the memory of a run up, if it waits. Mail that is not read yet is not known."""
        memory = self.memory.get(run)
        if self.alive and memory is not None and memory.parked:
            (answer,) = self.engine.evict(memory.grant)
            if answer != "granted":
                del self.memory[run]

    def forget_what_is_not_ours(self) -> None:
        """What the audit finds."""
        for run, memory in list(self.memory.items()):
            if self.engine.fields(run).get("epoch") != memory.grant.epoch:
                del self.memory[run]


class World:
    """Processes, and what must be true when all of them have come to rest."""

    def __init__(self, engine: Engine, queues: dict[str, int | None]) -> None:
        self.engine = engine
        self.queues = queues
        self.programs: dict[str, Program] = {}
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.completions: dict[str, list[bool]] = {}
        self.processes = {name: self._started(name) for name in ("w1", "w2")}
        engine.client.hset(engine.key("env"), mapping={"swept": engine.clock.now(), "hold": 0})

    def _started(self, session: str) -> Process:
        self.engine.register(session, {"t": 2}, self.queues)
        return Process(self, session)

    def create(self, program: Program = (), **options: object) -> str:
        run = self.engine.create(**options)  # type: ignore[arg-type]
        self.programs[run] = program
        return run

    def complete(self, token: str) -> None:
        self.completions.setdefault(token, []).append(self.engine.complete(token))

    def lapse(self, session: str) -> None:
        """Let a lease lapse and the sweeper find it."""
        if self.engine.client.zadd(
            self.engine.key("workers"), {session: 1}, xx=True, ch=True
        ):  # fmt: skip
            self.engine.sweep()

    def come_to_rest(self) -> None:
        """Let everybody react until nothing happens any more."""
        for process in self.processes.values():
            process.forget_what_is_not_ours()
            if not process.alive:
                self.lapse(process.session)
            elif not self.engine.renew(process.session):
                process.memory.clear()
                self._started(process.session)
        for _ in range(100):
            if not self._react():
                return
        raise AssertionError("it does not come to rest")

    def _react(self) -> bool:
        happened = self.engine.fire() > 0
        for process in self.processes.values():
            if process.alive:
                happened |= process.read_mail() | process.take()
                for run in list(process.memory):
                    while process.step(run):
                        happened = True
        return happened

    def check(self, *, finally_: bool = False) -> Keyspace:
        """Nobody sleeps on: a run is final, or waits for what is pending. Returns what is stored."""
        space = keyspace(self.engine.client, self.engine.scope)
        for run, fields in space.runs.items():
            if fields["status"] in FINAL:
                continue
            pending = [t for t in space.of("waiting").get(run, ()) if not is_done(space, t)]
            assert fields["status"] == "WAITING", f"at rest {run} is {fields}"
            assert pending, f"{run} sleeps on"
            assert not finally_, f"{run} waits although all is done"
        for process in self.processes.values():
            for memory in process.memory.values():
                memory.complain_of_sleeping_on(space)
        assert len(self.accepted) == len(set(self.accepted)), "two endings of a run were accepted"
        for token, answers in self.completions.items():
            ended = space.of("waitpoint")[token]["status"]
            assert answers.count(True) == (ended == "COMPLETED"), f"{token}: {ended}, {answers}"
        return space


Step = Callable[[], object]
