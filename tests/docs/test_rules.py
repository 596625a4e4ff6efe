"""The page on emulated cards names tests for the library's rules; they are all there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "emulator.md").read_text(encoding="utf-8")


def rows(title: str) -> list[list[str]]:
    """The cells of the one table of a section, without its head."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [line.strip("|").split(" | ") for line in table[2:]]


def test_every_rule_names_tests_that_exist():
    files = (ROOT / "tests").rglob("test_*.py")
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    known = set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))
    rules = rows("Rule by rule")
    assert len(rules) > 20
    for rule, *proof in rules:
        named = re.findall(r"`(test_\w+)`", " ".join(proof))
        assert named, rule
        assert set(named) <= known, rule


def test_every_defence_names_a_file_of_tests():
    defences = rows("Where the genuine library is worse")
    assert defences
    for row in defences:
        assert (ROOT / row[-1].strip(" `")).is_file(), row
