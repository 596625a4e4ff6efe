"""The configuration that one build gets: the user's file, and options that go before it."""

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors import ge
from actors.messages import CardKind, ModelOrder

#: Config sections that only the emulator, or only an Ascend card, reads.
_EMULATED = "emulated_card"
_ASCEND_ONLY = ("ascend_context", "acl_option_cfg_param", "acl_init_options", "acl_build_options")


def own_config(order: ModelOrder, kind: CardKind) -> dict[str, dict[str, str]]:
    """The order's own options as the library takes them, without what is not for it."""
    config = {
        section: {key: str(value) for key, value in options.items()}
        for section, options in order.config.items()
        if (section != _EMULATED or kind == "emulated")
        and (section not in _ASCEND_ONLY or kind != "cpu")
    }
    if order.provider == "ge" and order.share_weights and kind != "cpu":
        return ge.with_external_weights(config)
    return config


@contextmanager
def build_options(
    order: ModelOrder, kind: CardKind, build: Callable[..., Any]
) -> Iterator[dict[str, Any]]:
    """Keyword arguments for ``build``, a Model's ``build_from_file``; valid within the block.

    A release without ``config_dict`` (2.0) gets file and options as one file.
    """
    config = own_config(order, kind)
    options: dict[str, Any] = {"config_path": order.config_path} if order.config_path else {}
    if not config:
        yield options
    elif takes(build, "config_dict"):
        yield {**options, "config_dict": config}
    else:
        with tempfile.TemporaryDirectory(prefix="lite-config-") as folder:
            yield {"config_path": written_config(order, kind, Path(folder, "model.ini"))}


def written_config(order: ModelOrder, kind: CardKind, file: Path) -> str:
    """Write the model's file and options as one file; its path, or empty where there are none."""
    merged = ge.merged(order, own_config(order, kind))
    if not merged:
        return ""
    file.write_text(_ini(merged))
    return str(file)


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function is seen to have a parameter; a decorator that hides it is looked through.

    One that hands on whatever it is given, nobody can see what to, is taken not to have it.
    """
    parameters = inspect.signature(function).parameters  # follows __wrapped__
    if name in parameters:
        return True
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return False
    plain = getattr(function, "__func__", function)
    inner = [cell.cell_contents for cell in getattr(plain, "__closure__", None) or ()]
    return any(takes(found, name) for found in inner if _of_python(found))


def _of_python(found: object) -> bool:
    return inspect.isfunction(found) or inspect.ismethod(found)


def _ini(sections: Mapping[str, Mapping[str, str]]) -> str:
    return "".join(
        f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in options.items())
        for section, options in sections.items()
    )
