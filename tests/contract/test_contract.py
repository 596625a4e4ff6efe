"""The library's names, signatures, enums, properties and refusals, as the contract files hold them.

The same tests run against the emulator and, where it can be imported, against the genuine library:
the contract of the newest release that is no newer than what is installed.
"""

import inspect
from collections.abc import Callable
from pathlib import PosixPath
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from actors.emulator.releases import RELEASES
from tests.contract.conftest import CONTRACTS, Contract, Library, contract_of, numbers

EVIDENCE = {"ran", "source", "documentation", "assumed"}


def entries(contract: Contract, key: str) -> dict[str, Contract]:
    return {name: entry for name, entry in contract["names"].items() if key in entry}


def find(root: object, name: str) -> Any:
    """``Context.ascend.device_id``: classes on the way are instantiated."""
    found = root
    for part in name.split("."):
        found = getattr(found() if inspect.isclass(found) else found, part)
    return found


def owner(root: object, name: str) -> Any:
    holder, _, attribute = name.rpartition(".")
    found = find(root, holder)
    return (found() if inspect.isclass(found) else found), attribute


def parameters(function: Callable[..., object]) -> list[tuple[str, str]]:
    """Names and defaults, without ``self``; a wrapper that hides them is looked through."""
    found = list(inspect.signature(function).parameters.values())
    if found and all(p.kind in {p.VAR_POSITIONAL, p.VAR_KEYWORD} for p in found):
        inner = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
        return next(parameters(cell) for cell in inner if inspect.isfunction(cell))
    return [(p.name, repr(p.default)) for p in found if p.name != "self"]


def declared(signature: str, names: dict[str, object]) -> list[tuple[str, str]]:
    scope: dict[str, Any] = dict(names)
    exec(f"def function{signature}: pass", scope)
    return parameters(scope["function"])


def scope_of(library: ModuleType) -> dict[str, object]:
    wanted = [
        "Context",
        "DataType",
        "Format",
        "Model",
        "ModelGroup",
        "ModelGroupFlag",
        "ModelType",
        "Tensor",
    ]
    found = {name: getattr(library, name) for name in wanted if hasattr(library, name)}
    return {**found, "PosixPath": PosixPath, "zeros": lambda n: np.zeros(n, np.float32)}


@pytest.mark.parametrize("release", sorted(CONTRACTS))
def test_every_entry_names_its_source_and_its_evidence(release):
    contract = CONTRACTS[release]
    assert contract["release"] == release
    parts = [contract[key] for key in ("names", "absent", "not_emulated")]
    for entry in [*(e for part in parts for e in part.values()), *contract["errors"]]:
        assert entry["source"] in contract["sources"], entry
        assert entry["evidence"] in EVIDENCE, entry


def test_releases_are_matched_by_number():
    assert [contract_of(v) for v in ("2.0.0", "2.3.1", "2.6.0", "2.7.1", "2.8.0", "2.10.0")] == [
        "2.0",
        "2.3.1",
        "2.3.1",
        "2.7",
        "2.8",
        "2.8",
    ]


def test_the_emulator_has_every_release_that_a_contract_is_written_for():
    assert sorted(RELEASES) == sorted(CONTRACTS)


def test_enums_have_the_members_and_values(library: Library):
    lite, contract, emulated = library.lite, library.contract, library.emulated
    for name, entry in entries(contract, "enum").items():
        members = {member.name: member.value for member in getattr(lite, name)}
        assert members.items() >= entry["enum"].items(), name
        assert not emulated or members == entry["enum"], name


def test_signatures_have_the_parameters_and_defaults(library: Library):
    lite, contract, emulated = library.lite, library.contract, library.emulated
    names = scope_of(lite)
    for name, entry in entries(contract, "signature").items():
        head, _, method = name.partition(".")
        found = getattr(lite, head)
        got = parameters(getattr(found, method) if method else found.__init__)
        wanted = declared(entry["signature"], names)
        if not emulated:  # a newer release may have dropped what nobody here gives
            dropped = set(entry.get("may_lack", ())) - {parameter for parameter, _ in got}
            wanted = [parameter for parameter in wanted if parameter[0] not in dropped]
        assert got[: len(wanted)] == wanted, name
        assert not emulated or got == wanted, name


def test_properties_exist_with_their_defaults_and_setters(library: Library):
    lite, contract = library.lite, library.contract
    for name, entry in entries(contract, "property").items():
        holder, attribute = owner(lite, name)
        value = getattr(holder, attribute)
        if "default" in entry:
            assert value == entry["default"], name
        found = inspect.getattr_static(type(holder), attribute, None)
        settable = found is None or (isinstance(found, property) and found.fset is not None)
        assert settable == (entry["property"] == "settable"), name


def test_names_of_other_releases_are_absent(library: Library):
    lite, contract, emulated = library.lite, library.contract, library.emulated
    if not emulated and numbers(lite.__version__)[:2] != numbers(contract["release"])[:2]:
        pytest.skip("a newer release may have more")
    for name in [*contract["absent"], *(contract["not_emulated"] if emulated else ())]:
        head, _, rest = name.partition(".")
        if rest and hasattr(lite, head):
            holder, attribute = owner(lite, name)
            assert not hasattr(holder, attribute), name
        else:
            assert not hasattr(lite, head), name


def test_the_emulator_has_no_public_names_beyond_the_contract(library: Library):
    lite, contract, emulated = library.lite, library.contract, library.emulated
    if not emulated:
        pytest.skip("a newer release may have more")
    known = set(contract["names"])
    for name in ("Context", "Context.cpu", "Context.gpu", "Context.ascend", "Model", "Tensor"):
        found = find(lite, name)
        made = found() if inspect.isclass(found) else found
        extra = {f"{name}.{public}" for public in dir(made) if not public.startswith("_")} - known
        assert extra <= {"Context.cpu", "Context.gpu", "Context.ascend"}


def test_refusals_have_the_type_and_the_text(library: Library):
    lite, contract = library.lite, library.contract
    names = scope_of(lite)
    kinds = {"TypeError": TypeError, "ValueError": ValueError, "RuntimeError": RuntimeError}
    for entry in contract["errors"]:
        with pytest.raises(kinds[entry["raises"]]) as caught:
            exec(entry["do"], dict(names))
        assert (entry["do"], str(caught.value)) == (entry["do"], entry["says"])
        assert type(caught.value) is kinds[entry["raises"]]
