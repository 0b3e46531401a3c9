"""Networks of other architectures, read by spandrel (extra `peers`), for tables side by side."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atdsr.base.errors import AtdsrError
from atdsr.base.extras import install_command


class OtherNetworkError(AtdsrError):
    """A file of weights that spandrel does not read, or a network that fails."""


class OtherNetwork:
    """A network of any architecture that enlarges RGB pictures.

    Attributes:
        architecture: Name of the architecture, such as "DAT".
        scale: How many times the sides grow.
        parameters: Number of learned values.
    """

    def __init__(self, descriptor: Any, device: torch.device) -> None:
        """Wrap spandrel's `ImageModelDescriptor`."""
        self._descriptor = descriptor.float().eval().to(device)
        self.architecture = str(descriptor.architecture.name)
        self.scale = int(descriptor.scale)
        self.parameters = sum(p.numel() for p in descriptor.model.parameters())

    def __call__(self, image: Tensor) -> Tensor:
        """Enlarge `1 3 h w` in [0, 1] to `1 3 h*scale w*scale`, clamped, on the same device.

        If the architecture needs other sizes, the picture is padded by reflection at the right and
        bottom, and the result cropped.

        Raises:
            OtherNetworkError: There is too little memory, or the network fails otherwise.
        """
        try:
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # warnings of third-party code
                enlarged = self._descriptor(image.to(self._descriptor.device))
        except (RuntimeError, MemoryError, AssertionError, ValueError) as error:
            reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
            raise OtherNetworkError(f"its {self.architecture} network failed: {reason}.") from None
        return enlarged.to(image.device)


def load(path: Path, device: torch.device) -> OtherNetwork:
    """Load the network of a weight file; spandrel detects its architecture.

    Raises:
        OtherNetworkError: spandrel is not installed or does not know the file, or its network
            does not enlarge RGB pictures.
    """
    spandrel = import_spandrel()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of third-party code
            descriptor = spandrel.ModelLoader(device="cpu").load_from_file(path)
    except Exception as error:  # as many ways to fail as there are architectures
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise OtherNetworkError(
            f"{path}: spandrel cannot read these weights either: {reason}."
        ) from None
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise OtherNetworkError(
            f"{path}: its {descriptor.architecture.name} network needs a mask; name another file."
        )
    channels = (descriptor.input_channels, descriptor.output_channels)
    if descriptor.scale == 1 or channels != (3, 3):
        raise OtherNetworkError(
            f"{path}: its {descriptor.architecture.name} network does not enlarge RGB pictures "
            f"(scale {descriptor.scale}, channels {channels[0]} to {channels[1]})."
        )
    return OtherNetwork(descriptor, device)


def import_spandrel() -> Any:
    """Import and return the module `spandrel`.

    Raises:
        OtherNetworkError: It is not installed.
    """
    try:
        with without_torchvision_operators():
            import spandrel
    except ImportError as error:
        raise OtherNetworkError(
            "weights of other networks than ATD are read by spandrel, which is not installed "
            f"({error}); install it with {install_command('peers')}."
        ) from None
    return spandrel


@contextmanager
def without_torchvision_operators() -> Iterator[None]:
    """Let torchvision be imported where its build lacks the operators that it describes.

    Its build on PyPI and PyTorch's for CPUs only do not fit together: the import ends with
    "operator torchvision::nms does not exist" when it describes them for torch.compile. Nothing
    here uses them, so those descriptions are left out.
    """
    register: Callable[..., Any] = torch.library.register_fake

    def without_torchvision(name: Any, *args: Any, **kwargs: Any) -> Any:
        if str(name).startswith("torchvision::"):
            return lambda function: function
        return register(name, *args, **kwargs)

    torch.library.register_fake = without_torchvision
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.library.register_fake = register
