"""Where results are printed: as wide as the terminal, or wide enough for a file or a pipe."""

from rich.console import Console

#: Columns of a table that goes to a file or a pipe.
_PLAIN_WIDTH = 160


def results_console() -> Console:
    """A console on standard output, without guesses at what to colour."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)
