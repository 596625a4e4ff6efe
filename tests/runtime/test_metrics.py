"""What Prometheus gets: every metric is recorded, and the dashboard knows no other."""

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest
import ray

from actors.card import CardActor
from actors.histogram import Histogram
from actors.messages import Request
from orchestrator.dispatch import DeskView
from orchestrator.runtime.calls.asked import ModelCounts
from orchestrator.runtime.calls.samples import controller_samples, driver_samples
from orchestrator.runtime.cards.history import History
from orchestrator.runtime.cards.slots import Slot
from orchestrator.runtime.metrics import METRICS, Exporter, Sample, card_samples
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, model, planned, rows

DOCS = Path(__file__).parents[2] / "docs"
EXPORTED = {name for metric in METRICS.values() for name in metric.exported}


def test_a_histogram_counts_up_to_each_bound() -> None:
    seconds = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        seconds.add(value)
    counted = seconds.counted()
    assert counted.cumulative() == [(1.0, 2), (2.0, 3), (float("inf"), 4)]
    assert counted.total == 10.0


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    text = (DOCS / "dashboard.json").read_text(encoding="utf-8")
    board = json.loads(text)
    shown = set(re.findall(r"ray_orchestrator_\w+", text))
    assert shown <= EXPORTED
    for metric in METRICS.values():
        assert shown & set(metric.exported), f"{metric.name} is not on the dashboard"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) == len(board["panels"])


def test_the_page_names_every_metric() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    for metric in METRICS.values():
        short = metric.exported[0].removeprefix("ray_orchestrator_").removesuffix("_bucket")
        assert f"`{short}`" in page


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """What a card, a driver and a controller tell after five requests, one of them bad."""
    folder = tmp_path_factory.mktemp("metrics")
    gears = {"gears": [{"x": [1, WIDTH]}, {"x": [4, WIDTH]}]}
    path = write_mlp(folder, "mlp", width=WIDTH, gears=[1, 4])
    plan = planned(model("mlp", path, shapes=gears, version="v2"), count=1)
    order = plan.orders("local/0")
    card = CardActor()
    card.identify("node", "0", 0)
    card.load(order)
    card.predict_many([Request(i, "mlp", {"x": rows(3)}) for i in range(4)])
    card.predict_many([Request(9, "mlp", {"x": rows(3)[:, :5]})])
    view = DeskView({}, {"mlp": 2}, {("mlp", "local/0"): 1}, {}, ())
    slot = Slot("local/0", "node", order, history=History(restarts=3))
    found = [
        *card_samples(order, card.stats(), card.memory()),
        *driver_samples(plan, {"mlp": ModelCounts(answered=4, failed=1)}, view),
        *controller_samples([slot]),
    ]
    card.stop()
    return found


def test_every_metric_is_told_with_its_labels(samples: list[Sample]) -> None:
    assert {sample.name for sample in samples} == set(METRICS)
    for sample in samples:
        assert set(sample.labels) == set(METRICS[sample.name].labels)
    told = {sample.name: sample for sample in samples}
    assert told["orchestrator_predict_seconds"].labels == {
        "deployment": "tiny",
        "model": "mlp",
        "version": "v2",
        "card": "local/0",
        "node": "local",
    }
    value = {name.removeprefix("orchestrator_"): one.value for name, one in told.items()}
    assert (value["requests"], value["errors"], value["rows"]) == (5, 1, 12)
    assert value["batches"] == value["predict_seconds"].cumulative()[-1][1]
    assert value["rows"] == value["batch_rows"].total
    assert value["in_flight"] == 0
    assert (value["model_info"], len(told["orchestrator_model_info"].labels["digest"])) == (1, 64)
    assert 0 < value["predict_seconds"].total <= value["busy_seconds"]
    assert (value["retries"], value["waiting"], value["answered"], value["failed"]) == (1, 2, 4, 1)
    assert (value["restarts"], value["serving"]) == (3, 0.0)


def scraped(url: str) -> dict[str, str]:
    time.sleep(0.2)
    with urllib.request.urlopen(url, timeout=60) as page:
        lines = page.read().decode().splitlines()
    return {line.partition("{")[0]: line for line in lines if "orchestrator_" in line}


def test_ray_offers_them_to_prometheus(cluster, samples: list[Sample]) -> None:
    """Where Ray's exporter is installed: all names of the dashboard can be scraped."""
    here = ray.get_runtime_context().get_node_id()
    (node,) = (node for node in ray.nodes() if node["NodeID"] == here)  # others came and went
    if node["MetricsExportPort"] <= 0:
        pytest.skip("this Ray exports no metrics: ray[default] is not installed")

    @ray.remote(num_cpus=0)
    class Teller:
        def __init__(self) -> None:
            self.exporter = Exporter()

        def tell(self, samples: list[Sample]) -> None:
            self.exporter.export(samples)

    teller = Teller.remote()
    ray.get(teller.tell.remote(samples))
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    seen: dict[str, str] = {}
    while not seen.keys() >= EXPORTED:  # Ray exports every ten seconds
        seen = scraped(url)
    assert 'model="mlp"' in seen["ray_orchestrator_requests_total"]
    assert seen["ray_orchestrator_requests_total"].endswith(" 5.0")
    assert seen["ray_orchestrator_waiting"].endswith(" 2.0")
    ray.get(teller.tell.remote([s for s in samples if s.name != "orchestrator_waiting"]))
    while not seen["ray_orchestrator_waiting"].endswith(" 0.0"):  # of a model that is gone
        seen = scraped(url)
    ray.kill(teller)
