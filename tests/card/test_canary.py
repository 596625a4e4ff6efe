"""One workspace for all models of a card: tried on a node before it is relied on."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors import canary
from actors.card import CardActor
from actors.claims.claims import Claim
from actors.claims.judging import Verdict
from actors.device import DeviceError
from actors.errors import DoesNotFitError
from actors.machine import verdicts
from actors.machine.environment import Machine
from actors.machine.node import examine
from actors.messages import CardOrder, ModelOrder
from orchestrator.cli.verify_card import keep_mixture
from orchestrator.config import Deployment
from orchestrator.runtime.cluster.measure import proven
from tests.card.conftest import STANDINS, ascend

pytestmark = pytest.mark.usefixtures("vendor", "no_verdicts")


@pytest.fixture
def pair(real_file: ModelOrder, words: ModelOrder) -> tuple[ModelOrder, ModelOrder]:
    """Two models that share a workspace."""
    Path(words.path).write_bytes(b"not looked into here")
    return real_file, words


def test_one_workspace_for_all_is_tried_once_on_a_node_before_it_is_relied_on(
    pair: tuple[ModelOrder, ModelOrder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(canary, "ROUNDS", 3)
    own = {"acl_init_options": {"ge.exec.precision_mode": "force_fp16"}}
    order = ascend(replace(pair[0], precision="enforce_fp16", config=own), pair[1])

    assert canary.max_rule(order, 0, "0") == canary.Ruling(True)
    [found] = verdicts.stored()
    assert found.holds
    assert found.where.startswith("card of unknown type, driver none (")
    assert "shared runs answered as unshared ones" in str(found)

    def never(order: CardOrder, device_id: int) -> str:
        raise AssertionError("tried again")

    assert canary.max_rule(order, 0, "0", never).shares
    assert canary.max_rule(ascend(pair[0]), 0, "0", never).shares, "one model shares nothing"


#: A library that fails where a test wants it to, in the processes that try it out.
FAILING = """
exec(open({standin!r}).read())

class Model(emulator.Model):
    built = 0

    def build_from_file(self, *arguments, **options):
        Model.built += 1
        if Model.built > {fit}:
            raise RuntimeError("no memory")
        super().build_from_file(*arguments, **options)

class ModelGroup(emulator.ModelGroup):
    def cal_max_size_of_workspace(self, *arguments):
        if {crashes}:
            os._exit(139)
        Model.built = -9
        return super().cal_max_size_of_workspace(*arguments)
"""


@pytest.mark.parametrize(
    ("fit", "crashes", "shares", "told"),
    [
        (9, True, False, "they run apart and fail when they share: conv.mindir, words.mindir on "),
        (1, False, True, ""),  # one by one they run, and together when they share
        (1, True, False, "could not be tried, so workspaces are summed (card of unknown type, dr"),
        (0, False, False, "could not be tried, so workspaces are summed (card of unknown type, dr"),
    ],
)
def test_a_failure_when_sharing_counts_where_the_models_run_apart(
    pair: tuple[ModelOrder, ModelOrder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fit: int,
    crashes: bool,
    shares: bool,
    told: str,
) -> None:
    monkeypatch.setattr(canary, "ROUNDS", 1)
    monkeypatch.syspath_prepend(tmp_path)
    standin = STANDINS / "mindspore_lite" / "__init__.py"
    script = FAILING.format(standin=str(standin), fit=fit, crashes=crashes)
    (tmp_path / "mindspore_lite.py").write_text(script)
    ruling = canary.max_rule(ascend(*pair), 0, "0")
    assert ruling.shares is shares
    assert told in ruling.told
    kept = [verdict.holds for verdict in verdicts.stored()]
    assert kept == ([] if "could not be tried" in told else [shares])


def not_tried(order: CardOrder, device_id: int) -> str:
    raise DeviceError("no memory yet")


def test_what_could_not_be_tried_is_not_relied_on_and_is_said(
    devices: Path,
    pair: tuple[ModelOrder, ModelOrder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(canary, "differing", not_tried)
    order = ascend(*pair)
    card = CardActor(devices=devices)
    report = card.load(order)
    card.stop()
    [told] = report.warnings
    assert told.startswith("one workspace as large as the largest could not be tried, so workspa")
    assert told.endswith("): no memory yet")
    assert report.memory.planned.workspace == 0
    assert verdicts.stored() == (), "the next start tries again"
    tight = replace(order, capacity_bytes=report.memory.planned.total - 4096)
    with pytest.raises(DoesNotFitError, match=r"no memory yet\. Plan again with sharing: "):
        CardActor(devices=devices).load(tight)


def test_a_cache_that_cannot_be_written_costs_a_trial_at_every_start(
    pair: tuple[ModelOrder, ModelOrder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path / "file"))
    ruling = canary.max_rule(ascend(*pair), 0, "0", lambda order, device_id: "")
    assert ruling.shares
    assert "is tried at every start: [Errno 20] Not a directory" in ruling.told
    keep_mixture([Claim(verdicts.MIXTURE, Verdict.HELD, "as apart")], 0)


def test_verdicts_of_another_time_and_of_other_releases_are_not_told(tmp_path: Path) -> None:
    """An update of the driver, CANN or mindspore_lite makes a new combination."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "davinci0").touch()
    now = verdicts.combination("")
    for where, claim in (
        (now, verdicts.MIXTURE),
        (f"{now}.1", verdicts.MAX_RULE),
        (now, "of a later release"),
    ):
        verdicts.keep(verdicts.Verdict(where, False, "3 MiB more", claim))
    seen = examine({}, machine=Machine(tmp_path), read=lambda: ())
    assert [f.subject for f in seen.findings if "3 MiB more" in str(f)] == [verdicts.MIXTURE]
    assert verdicts.failed_here(verdicts.MAX_RULE) == ()


def test_where_one_workspace_is_not_enough_workspaces_are_summed_and_it_is_said(
    devices: Path, pair: tuple[ModelOrder, ModelOrder]
) -> None:
    order = ascend(*pair)
    ruling = canary.max_rule(order, 0, "0", lambda order, device_id: "conv.mindir differs by 3")
    assert not ruling.shares
    [found] = verdicts.stored()
    card = CardActor(devices=devices)
    report = card.load(order)
    card.stop()
    assert report.warnings == (str(found),)
    wanted = Deployment.model_validate(
        {
            "name": "pair",
            "cards": {"kind": "ascend", "count": 1, "capacity": "1GiB"},
            "models": [{"name": "conv", "path": pair[0].path}],
        }
    )
    told: list[str] = []
    [model] = proven(wanted, told.append).orders()
    assert not model.share_workspace
    assert told == [str(found)]
    assert "does not hold, so workspaces are summed (card of" in report.warnings[0]
    assert report.memory.planned.workspace == 0
    assert report.memory.planned.private > 0
    assert report.memory.residual_bytes == 0
    (devices / "dev").mkdir()
    (devices / "dev" / "davinci0").touch()
    seen = examine({}, machine=Machine(devices), read=lambda: ())
    [line] = [finding for finding in seen.findings if finding.subject == "shared workspace"]
    assert not line.ok
    assert "conv.mindir differs by 3, wanted answers as without sharing: update the" in str(line)
    tight = report.memory.planned.total - 4096
    with pytest.raises(DoesNotFitError) as caught:
        CardActor(devices=devices).load(replace(order, capacity_bytes=tight))
    assert str(caught.value).endswith(
        "conv.mindir differs by 3. Plan again with sharing: {workspace: false}"
    )
