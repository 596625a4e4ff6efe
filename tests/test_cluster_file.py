"""``cluster.yaml`` is what Ray's cluster launcher takes."""

import json
from pathlib import Path

import jsonschema
import pytest
import ray
from ruamel.yaml import YAML

FILE = Path(__file__).parents[1] / "cluster.yaml"


@pytest.fixture
def config():
    return YAML(typ="safe", pure=True).load(FILE)


def test_it_is_valid_by_rays_own_schema(config):
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(config, json.loads(schema.read_text()))


def test_an_on_premises_cluster_has_no_node_types(config):
    # ray/autoscaler/_private/local/config.py refuses them for this provider.
    assert config["provider"]["type"] == "local"
    assert not {"available_node_types", "head_node", "worker_nodes"} & set(config)
    assert all("{" not in line or "--resources='{" in line for line in start_lines(config))


def start_lines(config):
    return [
        line
        for role in ("head", "worker")
        for line in config[f"{role}_start_ray_commands"]
        if "--resources" in line
    ]
