"""Where a command runs on a cluster, and which networks its actors load."""

import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from atdsr.base.errors import AtdsrError, unreadable
from atdsr.batch import Networks
from atdsr.inference import InferenceConfig, load
from atdsr.weights import models


class ClusterError(AtdsrError):
    """A cluster that cannot be used, or an option that does not fit it."""


@dataclass(frozen=True)
class ClusterConfig:
    """Where the actors run, and what each of them takes.

    Attributes:
        address: The cluster: "auto" for the one of this machine, "HOST:PORT", or "ray://HOST:PORT"
            from outside. None takes the one that RAY_ADDRESS names, and without it starts Ray on
            this machine, for the time of the command.
        actors: How many processes enlarge pictures. None is as many as the cluster has room for.
        cpus_per_actor: CPUs of each, above 0, which are also its number of threads.
        gpus_per_actor: GPUs of each: a whole number, or a fraction that several actors share. None
            is 1 if the cluster has GPUs, and otherwise 0.
        batch: How many pictures an actor is given at a time. More save time where pictures are
            tiny; that many are made again when an actor is lost.

    Raises:
        ClusterError: A number is out of range.
    """

    address: str | None = None
    actors: int | None = None
    cpus_per_actor: float = 1
    gpus_per_actor: float | None = None
    batch: int = 4

    def __post_init__(self) -> None:
        for name in ("actors", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ClusterError(f"{name} is {value}; it is at least 1.")
        for name in ("cpus_per_actor", "gpus_per_actor"):
            value = getattr(self, name)
            is_possible = value is None or 0 <= value <= 1 or (value > 1 and value % 1 == 0)
            if not is_possible or (name == "cpus_per_actor" and not value):
                raise ClusterError(
                    f"{name} is {value:g}; Ray takes a whole number, or a fraction of one."
                )


@dataclass(frozen=True)
class NetworkSource:
    """The networks that an actor loads, in a form that travels to other machines.

    Attributes:
        name: The name of the model; None for all networks that come with atdsr, from which each
            picture gets the best one for its factor.
        inference: How they run.
        suffix: The suffix of the file of weights; empty for networks that come with atdsr.
        content: The file of weights.
        category_size: As in `atdsr.load`.
    """

    name: str | None
    inference: InferenceConfig
    suffix: str = ""
    content: bytes = b""
    category_size: int | None = None

    @classmethod
    def read(
        cls, model: str | None, inference: InferenceConfig, *, category_size: int | None = None
    ) -> Self:
        """Return the source for a model, with its file unless it comes with atdsr.

        Args:
            model: A name, or a file of weights on this machine; None as for `name`.
            inference: How the networks run.
            category_size: As in `atdsr.load`.

        Raises:
            ClusterError, WeightsError: There is no such model or file.
        """
        if model is None:
            return cls(None, inference)
        if models.is_file(model):
            file = Path(model)
        else:
            named = models.find(models.canonical(model))
            if isinstance(named, models.BundledModel):
                return cls(named.name, inference)
            file, category_size = named.path, named.config.category_size
        try:
            return cls(file.stem, inference, file.suffix, file.read_bytes(), category_size)
        except OSError as error:
            raise ClusterError(unreadable(file, error)) from None

    def load(self) -> Networks:
        """Load the networks, on the machine that they run on.

        Raises:
            WeightsError, UpscaleError: They cannot be loaded, or do not run here.
            OSError: The temporary file of the weights cannot be written.
        """
        if self.name is None:
            return Networks.bundled(self.inference)
        how = {each.name: getattr(self.inference, each.name) for each in fields(self.inference)}
        if not self.content:
            return Networks.single(load(self.name, **how), self.name)
        with tempfile.TemporaryDirectory(prefix="atdsr-") as folder:
            file = Path(folder, f"weights{self.suffix}")
            file.write_bytes(self.content)
            upscaler = load(file, category_size=self.category_size, **how)
            return Networks.single(upscaler, self.name)
