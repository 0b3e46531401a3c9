"""Which picture file becomes which, and doing so: one bad file never stops the others.

`plan` turns what a person types, an `Order`, into a `Plan` of `Job`s, and `run` does them.
"""

from atdsr.batch.naming import FIELDS, Template
from atdsr.batch.order import Box, Goal, JobError, Order, Times, network_scale
from atdsr.batch.piping import STREAM, Streams, streams
from atdsr.batch.planning import Job, Plan, plan
from atdsr.batch.running import LARGE, Outcome, Result, run, summary, totals

__all__ = [
    "FIELDS",
    "LARGE",
    "STREAM",
    "Box",
    "Goal",
    "Job",
    "JobError",
    "Order",
    "Outcome",
    "Plan",
    "Result",
    "Streams",
    "Template",
    "Times",
    "network_scale",
    "plan",
    "run",
    "streams",
    "summary",
    "totals",
]
