"""What a file is exported as, and the error of exporting."""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from atdsr.base.errors import AtdsrError, short
from atdsr.base.extras import install_command

Precision = Literal["fp32", "fp16"]

OPSETS = range(18, 24)
"""Versions of the ONNX operators that files can be written for."""


class ExportError(AtdsrError):
    """A network that cannot be exported, or a package that is not here."""


@dataclass(frozen=True)
class ExportConfig:
    """How a network is written.

    Attributes:
        precision: "fp32", or "fp16" for products in half precision. Tokens, norms, the pictures
            and what decides about categories stay in float32.
        opset: Version of the ONNX operators.

    Raises:
        ExportError: There is no such precision or opset.
    """

    precision: Precision = "fp32"
    opset: int = OPSETS[0]

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "fp16"):
            raise ExportError(f"precision is {short(self.precision)}; it is 'fp32' or 'fp16'.")
        if self.opset not in OPSETS:
            raise ExportError(f"opset is {short(self.opset)}; it is {OPSETS[0]} to {OPSETS[-1]}.")


def import_package(name: str) -> ModuleType:
    """Import a package of the extra `export`, or one that is needed beside it.

    Raises:
        ExportError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        is_extra = package != "openvino"
        install = install_command("export") if is_extra else f"pip install {package}"
        raise ExportError(
            f"this needs {package}, which is not installed ({error}); install it with {install}."
        ) from None
