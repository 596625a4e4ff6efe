"""Progress without a terminal: a line now and then, and one at the end."""

import io

from rich.console import Console

from orchestrator.jobs import Progress
from orchestrator.report.progress import job_progress


def test_a_line_every_ten_seconds_and_one_at_the_end():
    out, now = io.StringIO(), [0.0]
    with job_progress(Console(file=out, width=80), clock=lambda: now[0]) as tell:
        for second, read, rejected in [(0, 0, 0), (4, 1, 0), (11, 2, 1), (12, 3, 1), (13, 4, 1)]:
            now[0] = second
            tell(Progress(5, read, rejected, 2, (read + rejected) // 3))
        tell(Progress(5, 4, 1, 2, 2))
    assert out.getvalue().splitlines() == [
        "3 of 5 records, 1 rejected after 11 s",
        "5 of 5 records, 1 rejected after 13 s",
    ]


def test_a_terminal_gets_a_bar_that_goes_away():
    out = io.StringIO()
    with job_progress(Console(file=out, width=80, force_terminal=True)) as tell:
        tell(Progress(5, 5, 0, 1, 1))
    assert "5/5" in out.getvalue()


def test_where_nobody_has_counted_the_records_the_parts_say_how_far_it_is():
    out, now = io.StringIO(), [0.0]
    with job_progress(Console(file=out, width=80), clock=lambda: now[0]) as tell:
        now[0] = 11
        tell(Progress(None, 700, 1, 4, 2))
        tell(Progress(None, 1400, 1, 4, 4))
    assert out.getvalue().splitlines() == [
        "701 records, 1 rejected, 2 of 4 parts after 11 s",
        "1401 records, 1 rejected, 4 of 4 parts after 11 s",
    ]
