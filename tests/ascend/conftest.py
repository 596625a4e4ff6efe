"""Where a machine with cards can be stood in for."""

import subprocess

import pytest


@pytest.fixture(scope="package")
def own_dev() -> None:
    """Skip where this user may not mount a /dev of its own."""
    tried = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("needs a mount namespace: unshare -rm does not work here")
