"""Two bridges to Ray Data, for pipelines that are there already; no model is loaded for either.

``stream`` takes the batches of a dataset through a handle of this driver; ``ToCards`` is what
``Dataset.map_batches`` calls to have the cards of a running deployment answer.
"""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from actors.messages import Array
from orchestrator.handle import ModelHandle

if TYPE_CHECKING:
    from orchestrator.runtime.jobs.through import ThroughModel


class Dataset(Protocol):
    """What is asked of a dataset of Ray Data."""

    def iter_batches(self, *, batch_size: int, batch_format: str) -> Iterable[dict[str, Array]]:
        """Its rows, as columns."""


def stream(
    dataset: Dataset,
    model: ModelHandle,
    *,
    columns: Mapping[str, str] | None = None,
    ids: Sequence[str] = (),
    batch_size: int = 64,
) -> Iterator[dict[str, Array]]:
    """The model's outputs for all batches of a dataset, in its order, with many in flight.

    Args:
        dataset: any of Ray Data.
        model: a handle.
        columns: the column for each input of the model that is named otherwise.
        ids: columns to give back beside the outputs.
        batch_size: rows of a request; they have one shape, else see ``Orchestrator.run``.

    Raises:
        InvalidRequestError: values that the model does not take.
        RequestFailedError: no card could answer.
    """
    sources = {spec.name: spec.name for spec in model.signature.inputs} | dict(columns or {})
    kept: deque[dict[str, Array]] = deque()

    def requests() -> Iterator[dict[str, Array]]:
        for batch in dataset.iter_batches(batch_size=batch_size, batch_format="numpy"):
            kept.append({name: batch[name] for name in ids})
            yield {name: batch[column] for name, column in sources.items()}

    for outputs in model.map(requests()):
        yield {**kept.popleft(), **outputs}


class ToCards:
    """Give it to ``Dataset.map_batches``, with its arguments as ``fn_constructor_args``.

    It sends every batch to the cards of a named deployment that is up, and awaits the answer, so
    that one process of it keeps many batches in flight. Rows come out in any order: keep an id.

    Args:
        model: a handle of ``Orchestrator.connect(...)``; it connects anew where this runs.
        columns: the column for each input of the model that is named otherwise.
        ids: columns to give back beside the outputs.
    """

    def __init__(
        self,
        model: ModelHandle,
        columns: Mapping[str, str] | None = None,
        ids: Sequence[str] = (),
    ) -> None:
        self._model = model
        self._through = _through(model, columns or {}, ids)

    async def __call__(self, batch: dict[str, Array]) -> AsyncIterator[dict[str, Array]]:
        """The kept columns and the model's outputs for one batch of columns."""
        yield await self._through(batch, {self._model.name: self._model})


def _through(model: ModelHandle, columns: Mapping[str, str], ids: Sequence[str]) -> "ThroughModel":
    from orchestrator.runtime.jobs.through import ThroughModel  # importing names needs no Arrow

    axis = model.spec.batching.axis
    return ThroughModel(model.name, columns, ids, None if axis == "none" else axis)
