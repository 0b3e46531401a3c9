"""Enlarging many picture files: which file becomes which, and doing so.

`plan` turns what a person types, together with a `BatchConfig`, into a `Plan` of `BatchItem`s, and
`run` enlarges them. One bad file never stops the others.
"""

from atdsr.batch.config import (
    BatchConfig,
    BatchError,
    Factor,
    TargetBox,
    TargetSize,
    choose_network_scale,
)
from atdsr.batch.defaults import give_way
from atdsr.batch.failures import failures_to
from atdsr.batch.forecasts import (
    Forecast,
    ForecastTally,
    forecast,
    forecast_summary,
    forecast_totals,
    work_done,
)
from atdsr.batch.manifest_planning import plan_manifest
from atdsr.batch.model_advice import ModelAdvice
from atdsr.batch.naming import Template
from atdsr.batch.networks import Networks
from atdsr.batch.planning import BatchItem, Plan
from atdsr.batch.plans import plan
from atdsr.batch.previews import run_previews
from atdsr.batch.running import Outcome, Result, Tally, explain, run, summary, totals
from atdsr.batch.sharding import Shard
from atdsr.batch.streams import Streams, open_streams

__all__ = [
    "BatchConfig",
    "BatchError",
    "BatchItem",
    "Factor",
    "Forecast",
    "ForecastTally",
    "ModelAdvice",
    "Networks",
    "Outcome",
    "Plan",
    "Result",
    "Shard",
    "Streams",
    "Tally",
    "TargetBox",
    "TargetSize",
    "Template",
    "choose_network_scale",
    "explain",
    "failures_to",
    "forecast",
    "forecast_summary",
    "forecast_totals",
    "give_way",
    "open_streams",
    "plan",
    "plan_manifest",
    "run",
    "run_previews",
    "summary",
    "totals",
    "work_done",
]
