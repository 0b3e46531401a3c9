"""Finding a Ray cluster, or starting Ray on this machine."""

import importlib
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from atdsr.base.extras import install_command
from atdsr.cluster.config import ClusterConfig, ClusterError

_LOCAL = "local"  # as `ray.init` calls a cluster of its own
_OBJECTS = 2**28  # bytes for objects on this machine: weights, and a few names at a time
_STARTS = 3  # so often Ray is started on this machine before it is given up
_SECONDS = 10.0  # after which nobody answers at an address


def import_ray(name: str = "ray") -> Any:
    """Import Ray, or a module of it.

    Raises:
        ClusterError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported unasked
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ClusterError(
            f"this needs Ray, which is not installed ({error}); install it with: "
            f"{install_command('ray')}."
        ) from None


@contextmanager
def connected(config: ClusterConfig) -> Iterator[ClusterConfig]:
    """Connect to a cluster for the time of a block, or start Ray on this machine.

    Args:
        config: Where, and what the actors take.

    Yields:
        The configuration with all numbers that it left open.

    Raises:
        ClusterError: Ray is not installed, no cluster is at the address, or it does not answer.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield _completed(config, ray.cluster_resources(), is_local=False)
        return
    address = config.address or os.environ.get("RAY_ADDRESS") or _LOCAL
    _check_answer(address)
    options: dict[str, Any] = {}
    if address == _LOCAL:
        needed = math.ceil((config.actors or 1) * config.cpus_per_actor)
        options = {
            "num_cpus": max(os.cpu_count() or 1, needed),
            "object_store_memory": _OBJECTS,
            "include_dashboard": False,
        }
    is_main = threading.current_thread() is threading.main_thread()
    on_terminate = signal.getsignal(signal.SIGTERM)
    _init(ray, address, options)
    if is_main:
        signal.signal(signal.SIGTERM, on_terminate)  # which Ray takes for itself
    try:
        yield _completed(config, ray.cluster_resources(), is_local=address == _LOCAL)
    finally:
        ray.shutdown()


def _init(ray: Any, address: str, options: dict[str, Any]) -> None:
    """Connect to a cluster, or start Ray, which gives up after 30 s on a machine that is busy.

    Raises:
        ClusterError: It cannot be used, or does not start, when tried again either.
    """
    for left in range(_STARTS if address == _LOCAL else 1, 0, -1):
        try:
            ray.init(address, log_to_driver=False, logging_level="ERROR", **options)
            return
        except Exception as error:  # Ray raises just this, among others
            ray.shutdown()
            if left > 1:
                continue
            reason = str(error).strip().partition("\n")[0].removesuffix(".")
            if address != _LOCAL:
                raise ClusterError(f"Ray at {address} cannot be used: {reason}.") from None
            raise ClusterError(
                f"Ray does not start on this machine: {reason}; try again when it is less busy."
            ) from None


def _check_answer(address: str) -> None:
    """Check that somebody answers at an address, which Ray would try for minutes.

    Raises:
        ClusterError: Nobody does, or it is no address.
    """
    if address in ("auto", _LOCAL):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ClusterError(
            f"{address} is no address of a Ray cluster; write auto, HOST:PORT or ray://HOST:PORT."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster is at {address}: {error.strerror or error}; check the address, or "
            "leave it out to run on this machine."
        ) from None


def _completed(
    config: ClusterConfig, resources: dict[str, float], *, is_local: bool
) -> ClusterConfig:
    """Return a configuration with all numbers, for a cluster with these resources.

    Without GPUs, one CPU of this machine is left for the process that lists pictures and writes
    down what becomes of them.
    """
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    gpus_each = config.gpus_per_actor
    if gpus_each is None:
        gpus_each = 1 if gpus else 0
    actors = config.actors
    if actors is None:
        room = math.floor((cpus - is_local * (not gpus_each)) / config.cpus_per_actor)
        if gpus_each:
            room = min(room, math.floor(gpus / gpus_each))
        actors = max(1, room)
    return ClusterConfig(config.address, actors, config.cpus_per_actor, gpus_each, config.batch)
