"""Measurements in one JSON file, to plan with on another machine than they were made on."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.messages import CardKind, Measurement, ModelOrder
from orchestrator.errors import DeploymentError
from orchestrator.profiles.cache import ProfileCache, measurement_from, profile_key

#: What a measurement depends on that the machine which plans need not have.
_OF_THE_MACHINE = ("library", "cpu", "driver", "CANN")
_REASONS = {
    "model": "the model's file has changed since",
    "options": "its shapes, precision or options have changed since",
    "kind": "it was measured on another kind of card",
    "type": "it was measured on another type of card",
}


class ProfileFile(ProfileCache):
    """A cache that looks into a file first; what the file has not is looked for as usual."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            DeploymentError: it cannot be read, or is no such file.
        """
        super().__init__()
        self._source = str(path)
        try:
            self._models = _models(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise DeploymentError(self._source, (f"cannot be read: {error.strerror}",)) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            text = "is no file of measurements: `orchestrator profile --out` writes one"
            raise DeploymentError(self._source, (text,)) from error

    def get(self, order: ModelOrder, kind: CardKind, card_type: str | None) -> Measurement | None:
        """The file's measurement, else the cache's.

        Raises:
            DeploymentError: the file has one of another model file, other options or other cards.
        """
        if order.name not in self._models:
            return super().get(order, kind, card_type)
        key, measurement = self._models[order.name]
        wanted = profile_key(order, kind, card_type)
        for part in wanted.keys() - set(_OF_THE_MACHINE):
            if wanted[part] != key.get(part):
                text = f"model {order.name}: {_REASONS[part]}: measure it again"
                raise DeploymentError(self._source, (text,))
        return measurement


def profiles_text(
    measured: Mapping[str, tuple[ModelOrder, Measurement]], kind: CardKind, card_type: str | None
) -> str:
    """The text of such a file: each model's measurement, and what it depends on."""
    models = {
        name: {"key": profile_key(order, kind, card_type), "measurement": asdict(measurement)}
        for name, (order, measurement) in measured.items()
    }
    return json.dumps({"models": models}, indent=1)


def _models(data: Any) -> dict[str, tuple[Mapping[str, Any], Measurement]]:  # noqa: ANN401
    return {
        name: (dict(entry["key"]), measurement_from(entry["measurement"]))
        for name, entry in data["models"].items()
    }
