"""Running the network on pictures of any size: `load` returns an `Upscaler`."""

from atdsr.inference.config import InferenceConfig, UpscaleError
from atdsr.inference.upscaler import Upscaler, load

__all__ = ["InferenceConfig", "UpscaleError", "Upscaler", "load"]
