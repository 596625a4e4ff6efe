"""Every error of the tree keeps its type, its numbers and its text through pickle."""

import inspect
import pickle
from dataclasses import fields

import pytest

import actors.errors
import orchestrator.errors
from orchestrator.errors import OrchestratorError


def tree() -> list[type[OrchestratorError]]:
    found = {
        value
        for module in (actors.errors, orchestrator.errors)
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, OrchestratorError)
    }
    return sorted(found, key=lambda cls: cls.__name__)


def example(cls: type[OrchestratorError]) -> OrchestratorError:
    samples = {"str": "det", "int": 7, "float": 0.5, "bool": True, "tuple": ("one", "two")}
    samples |= {"Mapping": {"resume=True": "--resume"}}
    return cls(*(samples[getattr(one.type, "__name__", "")] for one in fields(cls)))


@pytest.mark.parametrize("cls", tree(), ids=lambda cls: cls.__name__)
def test_errors_survive_pickling(cls):
    error = example(cls)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert copy.args == error.args
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
    assert str(error) or not fields(cls), "only the branches say nothing themselves"


def test_docstrings_draw_the_whole_tree():
    drawn = (actors.errors.__doc__ or "") + (orchestrator.errors.__doc__ or "")
    assert [cls.__name__ for cls in tree() if cls.__name__ not in drawn] == []
