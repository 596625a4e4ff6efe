"""The reference is what the code says, and has every public name."""

import os

import orchestrator
from tests.docs.reference import PAGE, PARTS, page


def test_every_public_name_is_in_one_part():
    names = [name for _, part in PARTS.values() for name in part]
    assert sorted(names) == sorted(orchestrator.__all__)


def test_the_page_is_what_the_code_says():
    if os.environ.get("WRITE_EXPECTED"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page()
