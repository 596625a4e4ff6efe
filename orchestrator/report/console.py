"""Where results and messages are printed: names as they are, whatever they look like."""

from functools import partial

from rich.console import Console

#: Columns of a table that goes to a file or a pipe.
_PLAIN_WIDTH = 160
#: Rich would take ``det[v2]`` for a style and ``:car:`` for a picture.
_PLAIN = partial(Console, markup=False, emoji=False, highlight=False)


def results_console() -> Console:
    """A console on standard output: as wide as the terminal, or wide enough for a file."""
    console = _PLAIN()
    return console if console.is_terminal else _PLAIN(width=_PLAIN_WIDTH)


def messages_console(*, soft_wrap: bool = False) -> Console:
    """A console on standard error; ``soft_wrap``: no line is broken."""
    return _PLAIN(stderr=True, soft_wrap=soft_wrap)
