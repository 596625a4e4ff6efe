"""The deployment file: what it may say, how it is read, and the same objects for Python."""

from orchestrator.config.autoscale import Autoscale
from orchestrator.config.cards import Allocation, Cards, Sharing
from orchestrator.config.deployment import Deployment
from orchestrator.config.load import load_deployment, names_a_file, parse_deployment
from orchestrator.config.models import (
    EmulatedTimes,
    ExplicitSizes,
    Lite,
    ModelSpec,
    Replicas,
)
from orchestrator.config.placement import Placement
from orchestrator.config.presets import CARD_TYPES, CardType
from orchestrator.config.schema import deployment_schema
from orchestrator.config.shapes import Batching, DynamicShapes, Padding, Shapes

__all__ = [
    "CARD_TYPES",
    "Allocation",
    "Autoscale",
    "Batching",
    "CardType",
    "Cards",
    "Deployment",
    "DynamicShapes",
    "EmulatedTimes",
    "ExplicitSizes",
    "Lite",
    "ModelSpec",
    "Padding",
    "Placement",
    "Replicas",
    "Shapes",
    "Sharing",
    "deployment_schema",
    "load_deployment",
    "names_a_file",
    "parse_deployment",
]
