"""Enlarging on the machines of a Ray cluster: `atdsr cluster upscale`, and columns of Ray Data.

`connected` finds or starts a cluster, and `run` enlarges the pictures of a `batch.Plan` there, with
what a single process promises: each picture is read, enlarged and written by `batch.run` in one of
several actors. `results_to` keeps a log of the results in Parquet. `upscale_dataset` is for those
who have pictures in a column of a Ray Dataset. Ray is an extra, and imported when it is used.
"""

from atdsr.cluster.config import ClusterConfig, ClusterError, NetworkSource
from atdsr.cluster.connection import connected
from atdsr.cluster.datasets import upscale_dataset
from atdsr.cluster.logs import results_to
from atdsr.cluster.running import run

__all__ = [
    "ClusterConfig",
    "ClusterError",
    "NetworkSource",
    "connected",
    "results_to",
    "run",
    "upscale_dataset",
]
