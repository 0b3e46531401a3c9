"""Networks in ONNX files, run by onnxruntime (extra `export`): those of `atdsr export`, and others.

Any network that enlarges RGB pictures in [0, 1], `b 3 h w`, by one of `base.scales` will do.
"""

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atdsr.base.errors import missing
from atdsr.base.extras import install_command
from atdsr.base.scales import SCALES, list_scales
from atdsr.inference import budget
from atdsr.inference.config import PROVIDERS, Provider, UpscaleError
from atdsr.network.config import ATDConfig, ConfigError

_PROVIDERS: dict[Provider, tuple[str, str]] = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime (on macOS)"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu and TensorRT"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
}
"""Name in onnxruntime, and the packages that bring it."""

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)  # of which sides may have to be, tried in this order
_WINDOW = 16  # to which tiles of an unknown network are aligned
_BYTES_PER_PIXEL = 32_768  # that an unknown network takes: no measurement, a cautious guess


@dataclass(frozen=True)
class _Interface:
    """What an ONNX file takes: the name of its input, its type, and multiples of its sides."""

    name: str
    dtype: type[np.floating[Any]]
    has_batches: bool


class OnnxNetwork:
    """A network in an ONNX file, `b 3 h w` -> `b 3 h*scale w*scale`, RGB in [0, 1], unclamped.

    Args:
        path: The file.
        provider: What computes it: "cpu" or, if onnxruntime has been built with it, one of
            `PROVIDERS`.

    Attributes:
        path: The file.
        provider: What computes it.
        scale: How many times the sides grow.
        window: Side of the squares to which tiles are aligned, in pixels.
        facts: What the file says about itself, by name.
        config: Configuration of an ATD; None for other networks.
        parameters: Number of learned values; 0 where the file does not tell it.

    Raises:
        UpscaleError: There is no such file or provider, onnxruntime is not installed or cannot
            read the file, or the network is not of that form.
    """

    def __init__(self, path: str | Path, provider: Provider = "cpu") -> None:
        self.path, self.provider = Path(path), provider
        self._session = _open_session(self.path, provider)
        self._interface = self._read_interface()
        self.facts: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.config = self._read_config()
        self._multiple = 1
        if self.config is not None:
            self.scale, self.window = self.config.scale, self.config.window
        else:
            self.scale, self.window = self._find_scale(), _WINDOW
        count = self.facts.get("parameters", "")
        self.parameters = int(count) if self.config and count.isdecimal() else 0

    def __call__(self, image: Tensor) -> Tensor:
        """Enlarge a batch of pictures.

        Raises:
            MemoryError: There is too little memory.
            UpscaleError: The network fails on pictures of that size.
        """
        height, width = image.shape[-2:]
        samples = image.detach().cpu().numpy().astype(self._interface.dtype)
        below, right = -height % self._multiple, -width % self._multiple
        if below or right:
            samples = np.pad(samples, ((0, 0), (0, 0), (0, below), (0, right)), "symmetric")
        step = len(samples) if self._interface.has_batches else 1
        try:
            results = [
                self._run(samples[start : start + step]) for start in range(0, len(samples), step)
            ]
        except Exception as error:  # onnxruntime's errors are no RuntimeErrors
            if budget.is_out_of_memory(error):
                raise MemoryError from None
            raise UpscaleError(
                f"{self.path}: the network failed on {width}x{height}: {_message(error)}."
            ) from None
        enlarged = torch.from_numpy(np.concatenate(results).astype(np.float32, copy=False))
        return enlarged[..., : height * self.scale, : width * self.scale]

    def estimate(self, height: int, width: int) -> int:
        """Return the main memory in bytes that onnxruntime takes at its peak for one picture.

        For ATD, fitted to 16 kB for each pixel of the light network at 128x128; larger pictures
        take less for each pixel. It is what plain PyTorch takes, and the scores of all windows
        twice. For other networks it is a guess.
        """
        if self.config is None:
            return _BYTES_PER_PIXEL * height * width
        config = self.config
        plain = budget.estimate(config, self.parameters, height, width, has_kernels=False)
        height, width = (side + -side % config.window for side in (height, width))
        return plain + 8 * max(config.heads) * config.window**2 * height * width

    # ----------------------------------------------------------------------- what the file is

    def _read_interface(self) -> _Interface:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = [value.shape for value in (*inputs[:1], *outputs[:1])]
        if len(inputs) != 1 or len(outputs) != 1 or not all(_is_rgb(shape) for shape in shapes):
            raise UpscaleError(
                f"{self.path} does not enlarge RGB pictures: it has the inputs "
                f"{_described(inputs)} and the outputs {_described(outputs)}, and not one each, "
                "b 3 h w."
            )
        if inputs[0].type not in _TYPES:
            raise UpscaleError(
                f"{self.path} takes {inputs[0].type} and not floats; export it with a float input."
            )
        batch, _, *sides = shapes[0]
        if any(isinstance(side, int) for side in sides):
            raise UpscaleError(
                f"{self.path} takes pictures of {sides[1]}x{sides[0]} only; export it with dynamic "
                "height and width."
            )
        return _Interface(inputs[0].name, _TYPES[inputs[0].type], not isinstance(batch, int))

    def _read_config(self) -> ATDConfig | None:
        """Return the configuration that `atdsr export` has put into the file; None if not it."""
        if self.facts.get("architecture") != "ATD" or "config" not in self.facts:
            return None
        try:
            fields = json.loads(self.facts["config"])
            for name in ("depths", "heads"):
                fields[name] = tuple(fields[name])
            return ATDConfig(**fields)
        except (ValueError, TypeError, KeyError, RecursionError, ConfigError) as error:
            raise UpscaleError(
                f"{self.path}: its configuration cannot be read ({_message(error)}); export it "
                "again."
            ) from None

    def _find_scale(self) -> int:
        """Run the network on small pictures, and return how many times their sides grow."""
        error: Exception | None = None
        for multiple in _MULTIPLES:
            height, width = (multiple * ((32 // multiple) | 1), multiple * ((40 // multiple) | 1))
            try:
                result = self._run(np.full((1, 3, height, width), 0.5, self._interface.dtype))
            except Exception as failure:  # of onnxruntime, whatever the network cannot do
                error = error or failure
                continue
            for scale in SCALES:
                if result.shape == (1, 3, height * scale, width * scale):
                    self._multiple = multiple
                    return scale
            raise UpscaleError(
                f"{self.path} turns {width}x{height} into "
                f"{'x'.join(str(side) for side in result.shape[:1:-1])}; networks that enlarge by "
                f"{list_scales()} are run."
            )
        assert error is not None
        raise UpscaleError(f"{self.path}: the network failed: {_message(error)}.")

    def _run(self, samples: np.ndarray) -> np.ndarray:
        """Run the network, and end it if Ctrl-C comes meanwhile."""
        options = _onnxruntime().RunOptions()
        outcome: list[Any] = []

        def run() -> None:
            try:
                feed = {self._interface.name: samples}
                outcome.append(self._session.run(None, feed, options)[0])
            except BaseException as error:
                outcome.append(error)

        # in a thread of its own, since this one would not notice a signal before the end
        thread = threading.Thread(target=run)
        thread.start()
        try:
            thread.join()
        except BaseException:
            options.terminate = True
            thread.join()
            raise
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]


def is_onnx(path: str | Path) -> bool:
    """Tell whether this is the name of an ONNX file, even of a missing one."""
    return Path(path).suffix.lower() == ".onnx"


def _open_session(path: Path, provider: Provider) -> Any:
    """Open a file in onnxruntime.

    Raises:
        UpscaleError: See `OnnxNetwork`.
    """
    if not path.exists():
        raise UpscaleError(missing(path))
    if not path.is_file():
        raise UpscaleError(f"{path} is not a file; name an .onnx file.")
    onnxruntime = _onnxruntime()
    name, packages = _PROVIDERS[provider]
    here = onnxruntime.get_available_providers()
    if name not in here:
        usable = ", ".join(known for known in PROVIDERS if _PROVIDERS[known][0] in here)
        raise UpscaleError(
            f"this onnxruntime has no provider {provider}; it has {usable}. Install {packages}."
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what matters is raised
    options.intra_op_num_threads = torch.get_num_threads()
    options.enable_mem_pattern = False  # it takes a third more memory, and no less time
    providers = [name] if provider == "cpu" else [name, "CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # of many classes, none of which is public
        raise UpscaleError(f"{path} {_rejection(path, str(error))}") from None
    if session.get_providers()[0] != name:
        raise UpscaleError(
            f"the provider {provider} does not start on this machine; check its drivers and "
            "libraries, or use --provider cpu."
        )
    return session


def _onnxruntime() -> ModuleType:
    """Import and return onnxruntime.

    Raises:
        UpscaleError: It is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UpscaleError(
            f"ONNX files are run by onnxruntime, which is not installed ({error}); install it with "
            f"{install_command('export')}."
        ) from None
    return onnxruntime


_REJECTIONS: tuple[tuple[str, str], ...] = (
    ("Protobuf parsing failed", "is not an ONNX file, or it is damaged; fetch it again."),
    ("No graph was found", "holds no ONNX network; fetch it again."),
    ("External data path does not exist", "keeps its weights in another file, which is missing; "
     "put that beside it, or export the network into one file."),
    ("External data path escapes", "refers to a file outside its folder; it was not loaded."),
    ("ValidateOpsetForDomain", "was written for a newer version of ONNX (opset) than this "
     "onnxruntime knows; update onnxruntime, or export the network for opset 18."),
    ("Unsupported model IR version", "was written for a newer version of ONNX than this "
     "onnxruntime knows; update onnxruntime."),
)  # fmt: skip
"""What onnxruntime says, and what that means for the file."""


def _rejection(path: Path, text: str) -> str:
    """Return why onnxruntime does not read a file: a sentence without its first word."""
    for part, sentence in _REJECTIONS:
        if part in text:
            return sentence
    return f"cannot be read by onnxruntime: {_message(text)}."


def _message(error: object) -> str:
    """Return the part of onnxruntime's message that says what is wrong."""
    line = re.sub(r".*\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).partition("\n")[0])
    line = line.rpartition(" failed:")[2].rpartition("Status Message: ")[2]
    return line.rstrip(". ")[:300] or type(error).__name__


def _is_rgb(shape: Any) -> bool:
    return len(shape) == 4 and (shape[1] == 3 or not isinstance(shape[1], int))


def _described(values: Any) -> str:
    return ", ".join(
        f"{value.name} {' '.join(str(side) for side in value.shape)}" for value in values
    )
