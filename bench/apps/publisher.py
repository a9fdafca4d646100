"""A process that publishes on demand: a count on each line of its input, the ms of each on its output."""

from __future__ import annotations

import importlib
import json
import sys
import time


def main() -> None:
    noop = importlib.import_module("bench.apps.plain").noop
    importlib.import_module(sys.argv[1])
    for line in sys.stdin:
        spent = []
        for i in range(int(line)):
            began = time.perf_counter()
            noop.delay({"i": i})
            spent.append((time.perf_counter() - began) * 1000)
        print(json.dumps(spent), flush=True)


if __name__ == "__main__":
    main()
