"""The networks of a batch: each picture gets the one that is best for how much it grows."""

from collections.abc import Callable, Mapping
from dataclasses import fields

from atdsr.batch.config import choose_network_scale
from atdsr.inference import InferenceConfig, Upscaler, load
from atdsr.weights import models


class Networks:
    """Networks of several scales, each loaded when a picture first needs it.

    Args:
        models: The names of the networks by scale, at least one.
        load: Loads the network of a name.
        restorer: Name of the network that each picture goes through first; empty for none.

    Attributes:
        models: As above.
        restorer: As above.
    """

    def __init__(
        self, models: Mapping[int, str], load: Callable[[str], Upscaler], restorer: str = ""
    ) -> None:
        self.models = models
        self.restorer = restorer
        self._load = load
        self._loaded = dict[int, Upscaler]()

    @classmethod
    def single(cls, upscaler: Upscaler, name: str = "", restorer: str = "") -> "Networks":
        """Return the choice of one network, which is loaded already, and of its restorer."""
        networks = cls({upscaler.scale: name}, lambda _: upscaler, restorer)
        networks._loaded[upscaler.scale] = upscaler
        return networks

    @classmethod
    def bundled(
        cls, config: InferenceConfig, restorer: Upscaler | None = None, restorer_name: str = ""
    ) -> "Networks":
        """Return the networks for clean pictures that come with atdsr.

        Args:
            config: How they run.
            restorer: What each picture goes through first.
            restorer_name: Its name.

        Raises:
            UpscaleError: The configuration does not fit this machine or these networks.
        """
        bundled = models.by_scale("clean pictures")
        for model in bundled.values():
            config.for_window(model.config.window)  # raises now and not for each picture

        def load_model(name: str) -> Upscaler:
            how = {field.name: getattr(config, field.name) for field in fields(config)}
            return load(name, **how, restorer=restorer)

        names = {scale: model.name for scale, model in bundled.items()}
        return cls(names, load_model, restorer_name)

    def scale_for(self, factor: float) -> int:
        """Return the scale of the network for a picture whose sides grow so many times."""
        return choose_network_scale(factor, self.models)

    def for_factor(self, factor: float) -> Upscaler:
        """Return the network for a picture whose sides grow so many times.

        Raises:
            WeightsError, UpscaleError: It cannot be loaded.
        """
        scale = self.scale_for(factor)
        if scale not in self._loaded:
            self._loaded[scale] = self._load(self.models[scale])
        return self._loaded[scale]
