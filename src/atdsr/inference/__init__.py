"""Running the network on pictures of any size: `Upscaler`."""

from atdsr.inference.upscaler import Upscaler, load

__all__ = ["Upscaler", "load"]
