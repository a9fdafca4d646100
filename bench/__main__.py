"""`python -m bench`: runs the benchmarks and prints one table."""

from __future__ import annotations

import argparse
import json
import sys
import time

from bench import (
    batch,
    delays,
    dequeue_cost,
    drain,
    fan_out,
    listing,
    log_lines,
    memory,
    metadata,
    naps,
    parked,
    recording,
    report,
    resume_latency,
    round_trip,
    schedules,
    start_latency,
    trigger_again,
    trigger_one,
)
from bench.rig import Rig
from bench.rows import Outcome

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        trigger_one.BENCHMARK,
        trigger_again.BENCHMARK,
        batch.BENCHMARK,
        drain.ASYNCIO,
        drain.PREFORK_ONE,
        start_latency.BENCHMARK,
        round_trip.BENCHMARK,
        delays.BENCHMARK,
        memory.BENCHMARK,
        dequeue_cost.BENCHMARK,
        parked.BENCHMARK,
        resume_latency.BENCHMARK,
        fan_out.BENCHMARK,
        naps.BENCHMARK,
        log_lines.BENCHMARK,
        metadata.BENCHMARK,
        listing.BENCHMARK,
        recording.BENCHMARK,
        schedules.FIRED,
        schedules.IDLING,
    )
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--repeats", type=int, default=3, help="medians of so many (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1: a tenth of the runs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    if options.repeats < 1 or not 0 < options.scale <= 1:
        parser.error("--repeats is 1 or more, --scale over 0 and at most 1")
    return options


def main() -> int:
    options = arguments()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr, flush=True)

    outcomes: list[Outcome] = []
    with Rig(options.scale, say) as rig:
        known = report.facts(rig)
        for name in options.names or BENCHMARKS:
            benchmark = BENCHMARKS[name]
            of_rows = {row.key: Outcome(row) for row in benchmark.rows}
            repeats = min(options.repeats, benchmark.most_repeats)
            for repeat in range(1, repeats + 1):
                say(f"{name}, {repeat} of {repeats}")
                for key, sample in benchmark.measure(rig).items():
                    of_rows[key].samples.append(sample)
            outcomes += of_rows.values()
            for outcome in of_rows.values():
                say("  " + "  ".join(report.cells(outcome.line())))
    lines = [outcome.line() for outcome in outcomes]
    if options.json:
        print(json.dumps({"facts": known, "rows": lines}, indent=2))
    else:
        print(report.facts_line(known) + "\n\n" + report.table(lines))
    return 1 if any(line["verdict"] == "MISS" for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
