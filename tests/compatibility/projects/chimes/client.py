"""Waits until the clock has rung a few times, and prints what was to be heard."""

import json
import os
import threading
import time
from pathlib import Path

from chimes import app, ring

PATIENCE = 60


def heard():
    rung = Path(os.environ["RUNG"])
    lines = rung.read_text().split() if rung.exists() else []
    return {kind: lines.count(kind) for kind in sorted(set(lines))}


def main():
    left = [ring.apply_async(("by-hand",), queue=os.environ["LATER"]).id]
    results = {
        "what was left": [
            app.AsyncResult(one).get(timeout=PATIENCE) for one in os.environ["LEFT"].split()
        ],
    }
    end = time.monotonic() + PATIENCE
    while any(heard().get(kind, 0) < 2 for kind in ("quarter", "half")):
        if time.monotonic() > end:
            raise SystemExit(f"the clock stands still: {heard()}")
        threading.Event().wait(0.05)
    results["rung"] = sorted({*heard()} - {"by-hand", "noon"})
    results["schedule"] = {
        name: [entry["task"], repr(entry["schedule"]), entry["args"], entry["options"]]
        for name, entry in sorted(app.conf.beat_schedule.items())
    }
    print(json.dumps({"results": results, "left": left}))


if __name__ == "__main__":
    main()
