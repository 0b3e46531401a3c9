"""atdsr: the Adaptive Token Dictionary super-resolution transformer as software.

>>> import atdsr
>>> upscaler = atdsr.load("atd-light-x2")        # doctest: +SKIP
>>> upscaler(PIL.Image.open("photo.jpg"))        # doctest: +SKIP
"""

TYPE_CHECKING = (
    False  # importing it from `typing` takes a while, in which Ctrl-C prints a traceback
)

__version__ = "0.1.0"
__all__ = ["ATD", "ATDConfig", "AtdsrError", "Upscaler", "load"]

if TYPE_CHECKING:
    from atdsr.base.errors import AtdsrError
    from atdsr.inference.upscaler import Upscaler, load
    from atdsr.network.config import ATDConfig
    from atdsr.network.model import ATD

_HOME = {
    "ATD": "network",
    "ATDConfig": "network",
    "AtdsrError": "base.errors",
    "Upscaler": "inference",
    "load": "inference",
}


if not TYPE_CHECKING:  # a type checker that sees it takes every name for one of the package

    def __getattr__(name: str) -> object:
        """Import PyTorch only when a name that needs it is used."""
        if name not in _HOME:
            raise AttributeError(f"module 'atdsr' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"atdsr.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """Offer the public names to `dir` and to completion, before they are imported."""
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING", "_HOME"})
