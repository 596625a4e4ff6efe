"""A driver of cards as a user writes one: the commands before it, a deployment, and its end.

Called with a deployment and a file of inputs. What it saw is left in ``seen.json``, what the models
answered in ``answers.npz``.
"""

import json
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray

from orchestrator import Orchestrator, load_deployment
from orchestrator.cli import main

DOCTOR = ["doctor", "--json", "--address"]


def printed(*words: str) -> tuple[int, str]:
    """What a command ends with and prints, run in this process."""
    out = StringIO()
    with redirect_stdout(out):
        code = main(list(words))
    return code, out.getvalue()


def joined(address: str) -> tuple[int, str]:
    """The same of the one that looks at every node, in a process that joins the running Ray."""
    words = [sys.executable, "-m", "orchestrator", *DOCTOR, address]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def drive(path: str, inputs: str) -> dict[str, Any]:
    """What there was to see, from the first command until Ray has ended."""
    seen = {
        "check": printed("check", path, "--json"),
        "doctor": printed(*DOCTOR, "local"),
        "plan": printed("plan", path, "--json"),
    }
    with Orchestrator(load_deployment(path), address="local") as orchestrator:
        answers = {
            model: [one["y"] for one in orchestrator.model(model).map([{"x": x} for x in arrays])]
            for model, arrays in np.load(inputs).items()
        }
        seen["joined"] = joined(ray.get_runtime_context().gcs_address)
        seen["status"] = orchestrator.status().to_dict()
        family = psutil.Process().children(recursive=True)
    np.savez("answers.npz", **{model: np.stack(found) for model, found in answers.items()})
    seen["left"] = [str(one) for one in psutil.wait_procs(family, timeout=60)[1]]
    seen["connected"] = ray.is_initialized()
    return seen


if __name__ == "__main__":
    Path("seen.json").write_text(json.dumps(drive(*sys.argv[1:])))
