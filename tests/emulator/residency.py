"""A process that builds models on an emulated card, runs them, and tells its resident memory.

``python -m tests.emulator.residency FLAG THREADS ROUNDS PATH...`` prints JSON: resident bytes after
the last build and at rest after the last run, as the operating system counts them, and the ledger.
"""

import json
import sys
import threading
from pathlib import Path

import numpy as np

import actors.emulator as lite
from tests.emulator.conftest import build, share


def resident() -> int:
    """Resident bytes that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def main(flag: str, threads: int, rounds: int, paths: list[str]) -> None:
    lite.configure([8 << 30])
    if flag != "none":
        share(*paths, flag=flag)
    built = {path: [build(path) for _ in range(threads)] for path in paths}
    inputs = {
        path: [np.ones(tensor.shape, np.float32) for tensor in models[0].get_inputs()]
        for path, models in built.items()
    }
    before = resident()

    def work(number: int) -> None:
        for _ in range(rounds):
            for path, models in built.items():
                models[number].predict(inputs[path])

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = lite.memory(0)
    print(
        json.dumps(
            {
                "built": before,
                "rest": resident(),
                "weights": found.weights,
                "workspace": found.workspace,
                "private": found.private,
                "io": found.io,
                "engine": found.engine_bytes,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
