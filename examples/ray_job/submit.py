"""Run a batch job in a cluster, from anywhere that reaches its head.

``python -m examples.ray_job.submit --address http://HEAD:8265 -- deployment.yaml --input ...``
looks whether the cluster lets us in, ships this folder, and runs there what comes after ``--`` as
arguments of ``orchestrator run``. It prints the ``ray job submit`` line that does the same. The
exit code is 0 when the job succeeded and 1 otherwise, as Ray tells nothing finer.
"""

import argparse
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
_ASK_SECONDS = 10.0
_REFUSED = (401, 403)


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit, follow the job's output, and tell how it ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--address", required=True, help="the head's dashboard: http://HEAD:8265")
    parser.add_argument("--working-dir", type=Path, default=HERE, help="the folder to ship")
    parser.add_argument("run", nargs="+", help="after --: what `orchestrator run` takes")
    options = parser.parse_args(arguments)
    token = token_here(os.environ)
    problem = refused(options.address, token)
    if problem:
        print(f"error: {options.address}: {problem}", file=sys.stderr)
        return 1
    line = submit_line(options.address, options.working_dir, options.run)
    print(shlex.join(["ray", *line]), flush=True)
    # Ray's commands send a token only where they are told that there is one to send.
    mode = {"RAY_AUTH_MODE": "token"} if token else {}
    command = [sys.executable, "-m", "ray.scripts.scripts", *line]
    return int(subprocess.run(command, check=False, env={**os.environ, **mode}).returncode != 0)


def submit_line(address: str, folder: Path, run: Sequence[str]) -> list[str]:
    """The words after ``ray`` that submit the job and follow it."""
    there = ["python", "-m", "orchestrator", "run", *run]
    return ["job", "submit", "--address", address, "--working-dir", str(folder), "--", *there]


def token_here(environ: Mapping[str, str]) -> str:
    """The token that Ray's commands would send, from where they look for it; empty if none."""
    if environ.get("RAY_AUTH_TOKEN"):
        return environ["RAY_AUTH_TOKEN"].strip()
    file = Path(environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def refused(address: str, token: str) -> str:
    """Why the head would not take the job, and what helps; empty if it would."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(f"{address.rstrip('/')}/api/jobs/", headers=headers)
        urllib.request.urlopen(request, timeout=_ASK_SECONDS).close()
    except urllib.error.HTTPError as error:
        if error.code not in _REFUSED:
            return f"answers with {error.code} {error.reason}: is it the dashboard of a Ray head?"
        told = "does not accept the token of this machine" if token else "asks for a token"
        return (
            f"the cluster {told}: copy ~/.ray/auth_token from its head node here, or set "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
        )
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"nobody answers ({reason}): is the head running, and is this its dashboard?"
    return ""


if __name__ == "__main__":
    sys.exit(main())
