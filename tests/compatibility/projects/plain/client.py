"""Calls the tasks by all of canvas, and prints what came back."""

import json
import os

from celery import chain, chord, group
from proj.celery import app
from proj.tasks import add, divide, halve, mul, remember, xsum

PATIENCE = 60


def failed(result):
    try:
        return result.get(timeout=PATIENCE)
    except ArithmeticError as problem:
        return [type(problem).__name__, str(problem), result.state]


def main():
    sent = {
        "a call": add.delay(2, 2),
        "a chain": chain(add.s(4, 4), mul.s(8), mul.s(10))(),
        "a pipe": (add.s(2, 2) | mul.s(4) | mul.s(2)).delay(),
        "a group": group(add.s(i, i) for i in range(10))(),
        "a chord": chord((add.s(i, i) for i in range(10)), xsum.s())(),
        "a group in a chain": (group(add.s(1, 1), add.s(2, 2)) | xsum.s() | halve.s()).delay(),
        "a map": xsum.map([list(range(10)), list(range(100))]).delay(),
        "a starmap": add.starmap([(i, i) for i in range(10)]).delay(),
        "chunks": add.chunks([(i, i) for i in range(20)], 10).delay(),
        "a retry": halve.delay(10),
        "an immutable one": (add.s(2, 2) | mul.si(3, 3)).delay(),
        "with options": add.apply_async((1, 1), countdown=0.2, expires=600),
        "by name": app.send_task("proj.tasks.mul", (6, 7)),
        "with a callback": add.apply_async((3, 3), link=remember.s("after")),
    }
    bad = divide.apply_async((1, 0), link_error=remember.s())
    left = [add.apply_async((number, 1), queue=os.environ["LATER"]).id for number in range(3)]
    results = {name: result.get(timeout=PATIENCE) for name, result in sent.items()}
    results["a failure"] = failed(bad)
    results["what was left"] = [
        app.AsyncResult(one).get(timeout=PATIENCE) for one in os.environ["LEFT"].split()
    ]
    results["called back"] = sent["with a callback"].children[0].get(timeout=PATIENCE)
    print(json.dumps({"results": results, "left": left}))


if __name__ == "__main__":
    main()
