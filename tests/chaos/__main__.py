"""Long schedules: ``make chaos``, or ``python -m tests.chaos --seeds 20 --kills 6``."""

import argparse
import os
import tempfile
import time
from pathlib import Path

from actors.emulator.faults import VARIABLE
from orchestrator.runtime.cluster.connect import connect
from orchestrator.runtime.deployments.named import status_of, take_down
from orchestrator.runtime.deployments.up import up
from orchestrator.runtime.options import Options
from tests.chaos import schedules
from tests.chaos.schedules import Strikes, Victims
from tests.runtime.deployments import Truth
from tests.runtime.nodes import RESOURCE, further_node


def main() -> None:
    """Run schedules until one fails, or all are through."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--records", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ[VARIABLE] = str(Path(scratch, "faults"))
        connection = connect("local", resources={RESOURCE: 2.0})
        try:
            for seed in range(options.first, options.first + options.seeds):
                _run(Path(scratch, str(seed)), seed, options)
        finally:
            connection.close()


def _run(folder: Path, seed: int, options: argparse.Namespace) -> None:
    """One schedule on two cards here and one of a node that may be lost."""
    folder.mkdir()
    started, source, struck = time.monotonic(), folder / "rows.jsonl", folder / "struck"
    parts = schedules.write_lines(source, options.records, struck)
    workers = seed % 3
    targets = [target for target in schedules.TARGETS if workers or target != "worker"]
    drawn = schedules.random_targets(seed, options.kills, targets)
    kills = schedules.schedule(seed, parts, drawn)
    wanted = schedules.chaos_deployment(folder, 3, RESOURCE)
    with further_node() as node:
        up(wanted, Options())
        try:
            seen = Victims(lambda: status_of(wanted.name, 250.0), Path(os.environ[VARIABLE]), node)
            strikes, out = Strikes(kills, seen, struck), folder / "out"
            starts = schedules.run_to_the_end(wanted.name, source, out, strikes, workers)
            schedules.check(out, options.records, Truth(folder / "both.mindir"))
        finally:
            take_down(wanted.name)
    told = ", ".join(f"{kill.target} at {kill.parts}" for kill in kills)
    seconds = time.monotonic() - started
    print(f"seed {seed}: {told}: whole after {starts} starts, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
