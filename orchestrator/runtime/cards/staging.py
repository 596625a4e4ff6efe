"""A card's models from its node's cache, before the library hears of them.

``python -m orchestrator.runtime.cards.staging`` copies what a URL names, in a process of its own:
what reads URLs brings native libraries along, which must not come before the card's own.
"""

import pickle
import sys
from dataclasses import replace

from actors.errors import LoadError
from actors.files.modelcache import ModelCache
from actors.files.modelfiles import ModelFileError
from actors.machine.child import ChildError, run_module
from actors.messages import CardOrder, ModelFiles, ModelOrder
from orchestrator.sources import folder_of, is_url

_COPY_SECONDS = 3600.0


def staged(order: CardOrder) -> CardOrder:
    """The order with paths in this node's cache, which the library sees alone.

    Raises:
        LoadError: a model's files cannot be kept here, or are not those of the plan.
    """
    return replace(order, models=tuple(_staged(model, order) for model in order.models))


def with_sources(error: LoadError, order: CardOrder, told: CardOrder) -> LoadError:
    """The same with the user's own paths instead of those in the cache, ``told`` to the library."""
    texts = [str(text) for text in error.args]
    for model, copy in zip(order.models, told.models, strict=True):
        texts = [text.replace(copy.path, model.path) for text in texts]
    return LoadError(*texts)


def _staged(model: ModelOrder, order: CardOrder) -> ModelOrder:
    cache = ModelCache()
    try:
        if is_url(model.path) and (model.files is None or not cache.holds(model.files)):
            model = replace(model, files=_copied(model, order))
        return cache.stage(model, order.kind, folder_of(model.path))
    except ModelFileError as error:
        raise LoadError(order.slot, model.name, model.path, str(error)) from error


def _copied(model: ModelOrder, order: CardOrder) -> ModelFiles:
    """Let a process of its own copy the model; its files."""
    told = pickle.dumps((model, order.kind)).hex()
    try:
        answer = run_module(
            "orchestrator.runtime.cards.staging", timeout_seconds=_COPY_SECONDS, told=told
        )
        found = pickle.loads(bytes.fromhex(answer.splitlines()[-1]))
    except (ChildError, IndexError) as error:
        raise ModelFileError(f"copying it {error}") from error
    if isinstance(found, ModelFiles):
        return found
    raise ModelFileError(str(found))


def main() -> None:
    """The process: the model's files, or what is wrong with them, as the last line."""
    model, kind = pickle.loads(bytes.fromhex(sys.stdin.read()))
    try:
        answer: ModelFiles | str | None = (
            ModelCache().stage(model, kind, folder_of(model.path)).files
        )
    except ModelFileError as error:
        answer = str(error)
    sys.stdout.write(f"\n{pickle.dumps(answer).hex()}\n")


if __name__ == "__main__":
    main()
