"""Pictures in a column of a Ray Dataset."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from atdsr import batch, imaging
from atdsr.base.errors import AtdsrError
from atdsr.cluster.config import ClusterError, NetworkSource
from atdsr.cluster.connection import import_ray
from atdsr.inference import InferenceConfig


def upscale_dataset(
    dataset: Any,
    *,
    column: str,
    into: str = "upscaled",
    error: str = "error",
    model: str = "atd-light-x2",
    factor: float | None = None,
    format_name: str | None = None,
    actors: int = 1,
    cpus_per_actor: float = 1,
    gpus_per_actor: float = 0,
    inference: InferenceConfig | None = None,
    category_size: int | None = None,
) -> Any:
    """Return a dataset with a column of enlarged pictures, computed when it is asked for.

    Each row stays a row, with all its columns and two more. Rows keep the order that Ray gives
    them; `dataset.context.execution_options.preserve_order = True` makes that the order of
    `dataset`. A picture that cannot be enlarged stops no other.

    Args:
        dataset: A `ray.data.Dataset`.
        column: The column with pictures: files in bytes (of any format that `imaging` reads,
            also with several frames), or arrays `h w c` or `h w` of uint8, uint16 or floats in
            [0, 1], as an `Upscaler` takes them.
        into: The column for the results: files in bytes, or arrays of the same dtype. For a picture
            that fails, no bytes (null), or an array of shape `0 0 3`, `0 0 1` or `0 0`.
        error: The column for the reason why a picture fails, as a sentence; empty if it does not.
        model: A name that `atdsr models` lists, or a file of weights on this machine.
        factor: How many times the sides grow. None is the scale of the model.
        format_name: The format of results in bytes, of `imaging.FORMATS`. None is the picture's
            own, or PNG if that is not written.
        actors: How many processes enlarge pictures.
        cpus_per_actor: CPUs of each, which are also its number of threads.
        gpus_per_actor: GPUs of each, or a fraction that several share.
        inference: How the network runs.
        category_size: As in `atdsr.load`.

    Raises:
        ClusterError, WeightsError: Ray is not installed, there is no such model, or, where the
            columns of `dataset` are known already, no such column, or one called `into` or `error`.
        PictureError: There is no such format.
    """
    data = import_ray("ray.data")
    columns: list[str] | None = dataset.columns(fetch_if_missing=False)  # which would compute some
    if columns is not None:
        if column not in columns:
            raise _no_column(column, columns)
        for name in (into, error):
            if name in columns:
                raise ClusterError(f"the dataset has a column {name} already; name another.")
    if format_name is not None:
        imaging.format_of(Path(f"a.{format_name}"))
    source = NetworkSource.read(model, inference or InferenceConfig(), category_size=category_size)
    return dataset.map(
        _Enlarge,
        fn_constructor_args=(source, column, into, error, factor, format_name),
        compute=data.ActorPoolStrategy(size=actors),
        num_cpus=cpus_per_actor,
        num_gpus=gpus_per_actor,
    )


def _no_column(name: str, columns: Iterable[str]) -> ClusterError:
    return ClusterError(f"the dataset has no column {name}; it has {', '.join(columns)}.")


class _Enlarge:
    """What an actor of Ray Data does with a row; its arguments are those of `upscale_dataset`."""

    def __init__(
        self,
        source: NetworkSource,
        column: str,
        into: str,
        error: str,
        factor: float | None,
        format_name: str | None,
    ) -> None:
        self._networks = source.load()
        self._column, self._into, self._error = column, into, error
        self._size = batch.Factor(factor or min(self._networks.models))
        self._format = format_name

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._column not in row:
            raise _no_column(self._column, row)
        cell = row[self._column]
        if isinstance(cell, bytes):
            enlarged, sentence = self._enlarge_file(cell)
        elif isinstance(cell, np.ndarray):
            enlarged, sentence = self._enlarge_array(cell)
        else:
            enlarged, sentence = None, f"{type(cell).__name__} is neither bytes nor an array."
        return row | {self._into: enlarged, self._error: sentence}

    def _enlarge_file(self, content: bytes) -> tuple[bytes | None, str]:
        """Return the enlarged picture, or what is wrong with it."""
        name = self._format or imaging.recognise(content) or ""
        with tempfile.TemporaryDirectory(prefix="atdsr-") as folder:
            source = Path(folder, "picture")
            target = source.with_suffix(imaging.FORMATS.get(name, imaging.FORMATS["png"]))
            source.write_bytes(content)
            items = (batch.BatchItem(source, target),)
            plan = batch.Plan(items, (), several=False, config=batch.BatchConfig(self._size))
            (result,) = batch.run(plan, self._networks)
            if result.outcome is batch.Outcome.DONE:
                return target.read_bytes(), ""
        message = result.message.replace(str(target), "result")
        return None, message.replace(str(source), "picture")

    def _enlarge_array(self, samples: np.ndarray) -> tuple[np.ndarray, str]:
        """Return the enlarged array, or an empty one and what is wrong with it."""
        try:
            if samples.ndim not in (2, 3):
                raise ClusterError(f"the array has {samples.ndim} axes; a picture is h w c or h w.")
            size = self._size.resolve(samples.shape[1], samples.shape[0])
            upscaler = self._networks.for_factor(self._size.factor)
            return upscaler(samples, size=size), ""
        except (AtdsrError, MemoryError) as problem:
            empty = np.zeros((0, 0, *samples.shape[2:]), samples.dtype)
            return empty, str(problem) or "the memory is exhausted."
