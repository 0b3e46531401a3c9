"""What runs have come to: their logs read, summed up, drawn, and put on a page.

`reading` makes a `Run` of a log, `summary` a few words of it, `drawing` its curves (extra `plots`)
and `page` a page of all.
"""

from atdsr.reports.runs.keeping import set_aside
from atdsr.reports.runs.reading import Run, RunsError, find, is_run, read
from atdsr.reports.runs.summary import facts, written

__all__ = [
    "Run",
    "RunsError",
    "facts",
    "find",
    "is_run",
    "read",
    "set_aside",
    "written",
]
