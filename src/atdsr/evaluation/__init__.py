"""Benchmarks by the field's protocol: methods, on test sets, beside published figures.

In the order in which an evaluation goes: `testsets` finds pairs of pictures in folders, `methods`
makes what is compared (ATD, other networks by `peers`, bicubic), `protocol` enlarges and scores
(more figures by `perceptual`), `records` keeps what is done, `published` has what papers print, and
`tables` writes it all down; `expected` holds it to earlier figures; `places` finds which part of
a picture is worth a look. `atdsr.reports.evaluation_page` makes a page of it.
"""

from atdsr.evaluation.protocol import (
    Enlarge,
    Evaluation,
    EvaluationError,
    Method,
    Metric,
    Progress,
    Row,
    Score,
    See,
    done,
    evaluate,
    identity,
    image_path,
    machine,
)

__all__ = [
    "Enlarge",
    "Evaluation",
    "EvaluationError",
    "Method",
    "Metric",
    "Progress",
    "Row",
    "Score",
    "See",
    "done",
    "evaluate",
    "identity",
    "image_path",
    "machine",
]
