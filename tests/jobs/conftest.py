"""Nothing that these tests start stays behind."""

from tests.leftovers import nothing_is_left

__all__ = ["nothing_is_left"]
