"""What all deployments want is one request of Ray's, which holds as long as they say so."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator

import ray
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.cluster.requested import Claim, Want, Wants
from tests.runtime.requested import NAMESPACE, requested, requesters

#: Which no test waits for, and one that is waited for.
LONG, SHORT = 3600.0, 1.0
SPOKEN = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["NPU", "GPU"]),
        st.integers(0, 4),
        st.integers(0, 3),
    )
)


@given(SPOKEN, st.integers(0, 12))
def test_the_request_is_the_sum_of_the_last_words_of_those_heard_in_time(
    spoken: list[tuple[str, str, int, int]], later: int
) -> None:
    now, last = 0, {}
    wants = Wants(5, now)
    for who, resource, cards, pause in spoken:
        now += pause
        wants.hear(Want(who, resource, cards), now)
        last[who] = (resource, cards, now)
    now += later
    expected: Counter[str] = Counter()
    for resource, cards, at in last.values():
        expected[resource] += cards * (now < at + 5)
    bundles = wants.bundles(now)
    assert bundles == [{"GPU": 1}] * expected["GPU"] + [{"NPU": 1}] * expected["NPU"]
    assert wants.over(now) == (not bundles and (bool(spoken) or now >= 5))


def test_one_that_begins_waits_a_lease_for_those_who_spoke_to_the_one_before() -> None:
    wants = Wants(5, now=100)
    assert wants.bundles(100) == []
    assert not wants.over(104.9)
    assert wants.over(105)
    wants = Wants(5, now=100)
    wants.hear(Want("a", "NPU", 0), 101)
    assert wants.over(101), "somebody has spoken, and wants none"


def until(seen: Callable[[], bool], *saying: Callable[[], None]) -> None:
    while not seen():
        for say in saying:
            say()
        time.sleep(0.05)


@contextlib.contextmanager
def claims(lease_seconds: float) -> Iterator[tuple[Claim, Claim]]:
    pair = Claim("a", "NPU", lease_seconds), Claim("b", "NPU", lease_seconds)
    try:
        yield pair
    finally:
        for one in pair:
            one.close()
        until(lambda: not requesters())


def kill(no_restart: bool) -> None:
    """The actor that makes the request."""
    with contextlib.suppress(ValueError):  # it has ended, as nobody was heard on a busy machine
        ray.kill(ray.get_actor("requester", namespace=NAMESPACE), no_restart=no_restart)


def test_two_deployments_share_one_request_until_both_want_none(cluster: Connection) -> None:
    with claims(LONG) as (first, second):
        first.want(0)
        assert not requesters(), "nobody wants any"
        both = lambda: first.want(2), lambda: second.want(1)
        until(lambda: requested() == [{"NPU": 1}] * 3, *both)
        assert requesters() == 1
        second.close()
        until(lambda: requested() == [{"NPU": 1}] * 2)
        kill(no_restart=True)
        until(lambda: not requesters())
        assert requested() == [{"NPU": 1}] * 2, "Ray keeps it"
        until(lambda: requested() == [{"NPU": 1}] * 3, lambda: first.want(3))
        until(lambda: not requested() and not requesters(), lambda: first.want(0))
        until(lambda: requested() == [{"NPU": 1}] * 4, lambda: second.want(4))
    assert not requested()


def test_a_request_ends_with_those_who_want_it(cluster: Connection) -> None:
    with claims(SHORT) as (first, second):
        both = lambda: first.want(2), lambda: second.want(1)
        until(lambda: requested() == [{"NPU": 1}] * 3, *both)
        until(lambda: requested() == [{"NPU": 1}] * 2, both[0])  # the other is heard no more
        kill(no_restart=False)  # as a crash, after which Ray starts it anew
        until(lambda: not requested() and not requesters())  # and nobody says anything any more
