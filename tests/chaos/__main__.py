"""Long schedules: ``make chaos``, or ``python -m tests.chaos --seeds 20 --kills 6``."""

import argparse
import tempfile
import time
from pathlib import Path

from orchestrator.runtime.connect import connect
from orchestrator.runtime.named import take_down
from orchestrator.runtime.options import Options
from orchestrator.runtime.up import up
from tests.chaos import schedules
from tests.runtime.deployments import Truth


def main() -> None:
    """Run schedules until one fails, or all are through."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--records", type=int, default=3000)
    options = parser.parse_args()
    connection = connect("local", resources={"NPU": 2.0})
    try:
        with tempfile.TemporaryDirectory() as scratch:
            _run(Path(scratch), options)
    finally:
        connection.close()


def _run(folder: Path, options: argparse.Namespace) -> None:
    plan = schedules.chaos_plan(folder)
    truth, source = Truth(folder / "both.mindir"), folder / "rows.jsonl"
    parts = schedules.write_lines(source, options.records)
    up(plan, Options())
    try:
        for seed in range(options.first, options.first + options.seeds):
            started, out = time.monotonic(), folder / f"out-{seed}"
            kills = schedules.schedule(seed, parts, options.kills)
            starts = schedules.run_to_the_end(source, out, kills, workers=seed % 3)
            schedules.check(out, options.records, truth)
            told = ", ".join(f"{kill.target} at {kill.parts}" for kill in kills)
            seconds = time.monotonic() - started
            print(f"seed {seed}: {told}: whole after {starts} starts, {seconds:.0f} s", flush=True)
    finally:
        take_down(schedules.NAME)


if __name__ == "__main__":
    main()
