"""Where a machine with cards can be stood in for."""

import subprocess

import pytest


@pytest.fixture(scope="package")
def own_dev() -> None:
    """Skip where this user may not mount a /dev of its own."""
    try_it = "unshare -rm mount -t tmpfs none /dev"
    tried = subprocess.run(["sh", "-c", try_it], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs a mount namespace, and here does not work: {try_it}")
