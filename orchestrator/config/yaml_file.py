"""Reads YAML into plain data, keeping the line of every field."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.config.findings import Finding, LineNumbers, Loc

_TAG = "tag:yaml.org,2002:"
#: More than any deployment holds; aliases of aliases could otherwise grow without end.
_MOST_NODES = 200_000
_DEEPEST = 50
_MODELS = (".mindir", ".onnx")


class YamlError(ValueError):
    """The text is no YAML mapping. ``line`` counts from 1; None when it is not about a line."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem, line)
        self.problem = problem
        self.line = line

    def __str__(self) -> str:
        return f"{self.line}: {self.problem}" if self.line else self.problem


def read_text(path: Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        YamlError: it is missing, a folder, not readable or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise YamlError("there is no such file") from error
    except IsADirectoryError as error:
        raise YamlError("is a folder: name the file in it, such as deployment.yaml") from error
    except UnicodeDecodeError as error:
        if path.suffix in _MODELS:
            raise YamlError("is a model: name the deployment file that has it") from error
        line = error.object[: error.start].count(b"\n") + 1
        raise YamlError("is not UTF-8 text", line) from error
    except OSError as error:
        raise YamlError(f"cannot be read: {error.strerror}") from error


def parse_yaml(text: str) -> tuple[dict[str, Any], LineNumbers, list[Finding]]:
    """The mapping that ``text`` holds, its lines, and what is wrong with single fields of it.

    Raises:
        YamlError: the text is not YAML, is empty, or is not a mapping.
    """
    root = _compose(text)
    if root is None or (isinstance(root, ScalarNode) and root.tag == f"{_TAG}null"):
        raise YamlError("is empty")
    if not isinstance(root, MappingNode):
        raise YamlError(
            "expected a mapping (name: ..., cards: ..., models: ...)", root.start_mark.line + 1
        )
    reader = _Reader()
    data = reader.mapping(root, ())
    return data, LineNumbers(reader.lines), reader.findings


def _compose(text: str) -> Node | None:
    for number, line in enumerate(text.splitlines(), start=1):
        if line[: len(line) - len(line.lstrip())].count("\t"):
            raise YamlError("a tab cannot indent in YAML: use spaces", number)
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join((error.problem or error.context or "is not YAML").split())
        problem = problem.removeprefix("but ")
        raise YamlError(f"is not YAML: {problem}", mark.line + 1 if mark else None) from error
    except (YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise YamlError(f"is not YAML: {problem}") from error
    return node


class _Reader:
    """Walks the nodes of one document."""

    def __init__(self) -> None:
        self.lines: dict[Loc, int] = {}
        self.findings: list[Finding] = []
        self._nodes = 0
        self._constructor = YAML(typ="safe", pure=True).constructor

    def mapping(self, node: MappingNode, loc: Loc) -> dict[str, Any]:
        self.lines.setdefault(loc, node.start_mark.line + 1)
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                raise YamlError("merge keys (<<) are not supported", key_node.start_mark.line + 1)
            if not isinstance(key_node, ScalarNode):
                raise YamlError("expected a field name", key_node.start_mark.line + 1)
            key, line = str(key_node.value), key_node.start_mark.line + 1
            place = (*loc, key)
            if key in data:
                first = self.lines[place]
                text = f"field {key!r} is there twice, first in line {first}"
                self._duplicate((*loc, f"{key} (again)"), line, text)
                continue
            self.lines[place] = line
            data[key] = self._value(value_node, place)
        return {key: value for key, value in data.items() if value is not None}

    def _duplicate(self, place: Loc, line: int, text: str) -> None:
        """A second field of one name has a place of its own, so that its line is not lost."""
        self.lines[place] = line
        self.findings.append(Finding(place, text, names_field=True))

    def _value(self, node: Node, loc: Loc) -> object:
        self._nodes += 1
        line = node.start_mark.line + 1
        if self._nodes > _MOST_NODES or len(loc) > _DEEPEST:
            raise YamlError("is nested too deeply or too large for a deployment", line)
        if isinstance(node, MappingNode):
            return self.mapping(node, loc)
        if isinstance(node, SequenceNode):
            return self._sequence(node, loc)
        if not isinstance(node, ScalarNode):
            raise YamlError("expected a value", line)
        return self._scalar(node, loc)

    def _sequence(self, node: SequenceNode, loc: Loc) -> list[object]:
        values: list[object] = []
        for number, item in enumerate(node.value):
            place = (*loc, number)
            self.lines[place] = item.start_mark.line + 1
            values.append(self._value(item, place))
        return values

    def _scalar(self, node: ScalarNode, loc: Loc) -> object:
        kind = str(node.tag).removeprefix(_TAG)
        if kind == "null":
            self.findings.append(Finding(loc, "has no value: give one, or remove the line"))
            return None
        if kind in ("int", "float", "bool"):
            try:
                make = SafeConstructor.yaml_constructors[str(node.tag)]
                value: object = make(self._constructor, node)
            except ValueError:
                return str(node.value)
            return value
        if str(node.tag).startswith("!"):
            raise YamlError(f"the tag {node.tag} is not supported", node.start_mark.line + 1)
        return str(node.value)
