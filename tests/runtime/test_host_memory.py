"""Memory of hosts: who may load when, and what a process that Ray killed for it is said to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import OutOfMemoryError, RayActorError

from actors.hostmemory import HostMemory, HostWatch, together
from actors.messages import CardIdentity
from orchestrator.errors import CardLostError, PackageDiffersError
from orchestrator.runtime.fleet import ours
from orchestrator.runtime.package import package_version, require_same, sources_digest
from orchestrator.runtime.starts import NodeStarts

HOST_FULL = (
    "card local/0: Ray killed its process because the memory of its host, not of the card, ran "
    "out: other processes there, the object store, or inputs and outputs in flight took it"
)


def test_a_peak_that_has_gone_again_is_seen():
    watch = HostWatch()
    much = bytearray(64 << 20)
    del much
    found = watch.found()
    assert found.process > 1 << 20
    assert found.peak >= 60 << 20
    assert found.steady < 60 << 20


def test_models_load_one_after_the_other():
    models = [(HostMemory(100, 50, 10), 0), (HostMemory(90, 40, 30), 5)]
    assert together(models) == HostMemory(process=100, peak=85, steady=45)
    assert together([*models, (None, 0)]) == HostMemory()
    assert together([(HostMemory(), 0)]) == HostMemory()


def test_loads_wait_for_room_and_those_that_nobody_knows_do_not():
    node, begun = NodeStarts(), []

    def enter(name, peak, steady=0):
        needs = HostMemory(1, peak, steady)
        for begin in node.enter(needs, 100, lambda: begun.append(name)):
            begin()
        return needs

    first, _, _ = enter("a", 60, 30), enter("b", 60, 30), enter("unknown", 0)
    assert begun == ["a"]  # whoever comes later does not overtake
    for begin in node.leave(first, stays=True):
        begin()
    assert begun == ["a", "b", "unknown"]


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), max_size=12), st.integers(0, 100)
)
def test_peaks_fit_and_everybody_has_his_turn(sizes, free):
    node = NodeStarts()
    loads = [HostMemory(1, max(peak, steady), steady) for peak, steady in sizes]
    done = []
    for number, needs in enumerate(loads):
        for begin in node.enter(needs, free, lambda n=number: done.append(n)):
            begin()
    held = 0
    while node.loading:
        assert len(node.loading) == 1 or held + sum(n.peak for n in node.loading) <= free
        ended = node.loading[0]
        held += ended.steady
        for begin in node.leave(ended, stays=True):
            begin()
    assert done == list(range(len(loads)))


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("Task was killed due to the node running low on memory."),
        RayActorError(error_msg="The actor died: killed by the memory monitor of the node."),
    ],
)
def test_a_kill_for_the_host_is_told_as_such(error):
    told = ours(error, "local/0")
    assert isinstance(told, CardLostError)
    assert str(told) == HOST_FULL


def test_sources_are_compared_and_not_how_they_got_there(tmp_path):
    roots = {name: tmp_path / name for name in ("orchestrator", "actors")}
    for root in roots.values():
        (root / "part").mkdir(parents=True)
        (root / "part" / "one.py").write_text("a = 1\n")
    first = sources_digest(roots)
    (roots["actors"] / "part" / "one.pyc").write_bytes(b"compiled")
    assert sources_digest(roots) == first
    digest = package_version().rpartition("+")[2]
    sent = CardIdentity("abcdef0123456789", "0", 0, 1, package=f"sources+{digest}")
    assert require_same("card local/0", sent) is sent
    (roots["actors"] / "part" / "one.py").write_text("a = 2\n")
    assert sources_digest(roots) != first
    changed = CardIdentity("abcdef0123456789", "0", 0, 1, package="0.1.0+0123456789ab")
    with pytest.raises(PackageDiffersError, match=r"has ascend-orchestrator 0\.1\.0\+0123456789ab"):
        require_same("card local/0", changed)


def test_a_node_with_another_version_is_named():
    here = package_version()
    same = CardIdentity("abcdef0123456789", "0", 0, 1, package=here)
    assert require_same("card local/0", same) is same
    with pytest.raises(PackageDiffersError) as told:
        require_same("card n/0", CardIdentity("abcdef0123456789", "0", 0, 1, package="0.0.9"))
    assert str(told.value).startswith(
        f"card n/0: its node abcdef012345 has ascend-orchestrator 0.0.9, and {here} runs here: "
    )
