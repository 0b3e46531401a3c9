"""Evaluation by the field's protocol: methods on test sets, beside published figures.

In the order of an evaluation: `testsets` finds pairs of pictures in folders; `methods` creates what
is compared (ATD, bicubic, and other networks by `other_networks`); `protocol` enlarges and scores
the pictures (with more metrics by `perceptual`) and returns the `results`; `records` keeps scores
until the evaluation is complete; `published` has the figures of papers; `tables` writes tables and
JSON; `expected` compares with earlier figures; `regions` finds the part of a picture that is worth
a look. `atdsr.reports.evaluation_page` makes a page of it.
"""

from atdsr.evaluation.protocol import (
    EvaluationError,
    count_recorded,
    evaluate,
    evaluation_id,
    image_path,
)
from atdsr.evaluation.results import Evaluation, Method, Metric, Row, Score

__all__ = [
    "Evaluation",
    "EvaluationError",
    "Method",
    "Metric",
    "Row",
    "Score",
    "count_recorded",
    "evaluate",
    "evaluation_id",
    "image_path",
]
