"""Models of provider GE on one card: what their one session needs, and what it must not hold.

A ModelGroup of Model objects is one GE session (MindSpore Lite 2.7, ge_graph_executor.cc). Its
graphs reuse one memory and must not run at the same time; its options are the same for all
members; a parameter name that it has seen keeps the first model's values. Pure, but for reading the
model files.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from actors.files.options import option_findings
from actors.files.parameters import read_parameters
from actors.gears import parse_sections
from actors.messages import ConfigSections, ModelOrder

#: The one place of the option with which a session holds constants once.
SESSION = "ge_session_options"
EXTERNAL = "ge.externalWeight"
_GLOBAL = "ge_global_options"


def merged(order: ModelOrder, own: ConfigSections | None = None) -> dict[str, dict[str, str]]:
    """The model's options by section: its config file's, then its own, every value a string.

    ``own`` stands in for the order's own options.

    Raises:
        ValueError: the config file is none.
        OSError: it cannot be read.
    """
    found = parse_sections(Path(order.config_path).read_text()) if order.config_path else {}
    for section, options in (order.config if own is None else own).items():
        found.setdefault(section, {}).update({key: str(v) for key, v in options.items()})
    return found


def with_external_weights(config: ConfigSections) -> dict[str, dict[str, str]]:
    """The options with constants held once for the session, wherever the user meant to write it."""
    made = {section: {k: str(v) for k, v in options.items()} for section, options in config.items()}
    made.setdefault(SESSION, {})[EXTERNAL] = "1"
    return made


def option_warnings(order: ModelOrder) -> tuple[str, ...]:
    """Options of a model, of any provider, that the library would ignore without a word.

    Raises:
        ValueError: the config file is none.
        OSError: it cannot be read.
    """
    found = option_findings(merged(order))
    return tuple(f"model {order.name}: {finding}" for finding in found)


def session_problem(
    members: Sequence[ModelOrder], files: Mapping[str, Path]
) -> tuple[ModelOrder, str] | None:
    """What keeps models from one session, and the model to blame; None when nothing does.

    ``files``: where each model's constants are read, by model name. The library fails the build for
    unequal options of the session.
    """
    why = "GE models of one card that share are one session, whose options must be equal"
    unequal = _unequal_options(members, SESSION, why)
    return next(unequal, None) or next(_equal_names(members, files), None)


def global_problem(orders: Sequence[ModelOrder]) -> tuple[ModelOrder, str] | None:
    """What keeps GE models from one process, whether they share or not; None when nothing does.

    GE is initialised once, with the global options of the first model that is built.
    """
    why = "GE takes them from the first of its models in a process, so they must be equal"
    return next(_unequal_options(orders, _GLOBAL, why), None)


def _unequal_options(
    orders: Sequence[ModelOrder], section: str, why: str
) -> Iterator[tuple[ModelOrder, str]]:
    first, *others = orders
    mine = _options(first, section)
    for other in others:
        theirs = _options(other, section)
        for key in sorted({*mine, *theirs}):
            if mine.get(key) != theirs.get(key):
                yield (
                    other,
                    f"[{section}] {key} is {_told(theirs, key)} and model {first.name} has "
                    f"{_told(mine, key)}: {why}",
                )


def _equal_names(
    members: Sequence[ModelOrder], files: Mapping[str, Path]
) -> Iterator[tuple[ModelOrder, str]]:
    seen: dict[str, tuple[str, ModelOrder]] = {}
    for order in members:
        for name, found in read_parameters(files[order.name]).items():
            first, owner = seen.setdefault(name, (found.digest, order))
            if first != found.digest:
                yield (
                    order,
                    f"parameter {name} has other values than in model {owner.name}: one GE session "
                    f"would answer with those of {owner.name} for both. Rename the parameters, put "
                    "the models on different cards, or set sharing {weights: false} for one",
                )


def _options(order: ModelOrder, section: str) -> Mapping[str, str]:
    config = with_external_weights(merged(order)) if order.share_weights else merged(order)
    return config.get(section, {})


def _told(options: Mapping[str, str], key: str) -> str:
    return repr(options[key]) if key in options else "not set"
