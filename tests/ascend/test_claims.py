"""What plans rely on, on emulated cards, and with ``-m ascend`` the same on a real one.

On a real card the models are those named in ``ASCEND_TEST_MODELS`` and ``ASCEND_TEST_GE_MODELS``
(paths, separated by blanks), else small ones that the library's Converter makes.
"""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from actors import device
from actors.claims.claims import CLAIMS
from orchestrator.cli import main

#: What was found, by card kind: one acceptance run serves all tests.
_found: dict[str, dict] = {}


def verify(kind: str, capsys: pytest.CaptureFixture[str]) -> dict:
    if kind not in _found:
        options = []
        if kind == "ascend":
            for option, variable in (("--models", "MODELS"), ("--ge-models", "GE_MODELS")):
                paths = os.environ.get(f"ASCEND_TEST_{variable}", "").split()
                options += [option, *paths] if paths else []
        code = main(["verify-card", "--kind", kind, "--json", *options])
        printed = capsys.readouterr()
        assert printed.out, printed.err
        _found[kind] = {"code": code, **json.loads(printed.out)}
    return _found[kind]


def claim(found: dict, name: str) -> dict:
    (one,) = (claim for claim in found["claims"] if claim["name"] == name)
    return one


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CLAIMS)
def test_claim_holds_on_emulated_cards(name, capsys):
    found = claim(verify("emulated", capsys), name)
    assert found["verdict"] == "held", found["says"]


def test_the_run_says_what_it_took(capsys):
    found = verify("emulated", capsys)
    assert found["code"] == 0
    assert found["held"]
    assert found["counts"] == {"held": len(CLAIMS), "failed": 0, "not checked": 0}
    assert (found["card"], found["second_card"]) == (0, 1)
    assert found["library"].startswith("emulated mindspore_lite ")
    shared = {one["name"]: (one["unshared_bytes"], one["shared_bytes"]) for one in found["claims"]}
    # One workspace of two and one copy of five remain, each as the ledger rounds it.
    unshared, together = shared["one workspace"]
    assert unshared - together == 8 << 20
    unshared, together = shared["one copy of weights, five groups"]
    assert unshared - together == 4 * (10 << 20)
    assert shared["one copy of weights, one group"] == (unshared, together)


@pytest.mark.ascend
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CLAIMS)
def test_claim_holds_on_a_real_card(name, capsys):
    if not device.count({}, (file.name for file in Path("/dev").iterdir())):
        pytest.skip("needs a card: there is no /dev/davinci* here")
    if find_spec("mindspore_lite") is None:
        pytest.skip("needs the genuine mindspore_lite")
    found = claim(verify("ascend", capsys), name)
    if found["verdict"] == "not checked":
        pytest.skip(found["says"])
    assert found["verdict"] == "held", found["says"]
