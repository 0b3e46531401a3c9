"""What can be compared: ATD, other networks, bicubic and Lanczos, each as a `Method`.

Networks of scale 1, which restore, are compared with the picture that they are given.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from atdsr import imaging
from atdsr.base import files
from atdsr.base.errors import AtdsrError
from atdsr.base.reporter import SILENT, Reporter
from atdsr.base.scales import RESTORING
from atdsr.datasets import Teacher
from atdsr.evaluation import other_networks
from atdsr.evaluation.damage import Damage, parse
from atdsr.evaluation.other_networks import OtherNetwork
from atdsr.evaluation.results import Method
from atdsr.imaging import resample
from atdsr.inference.config import InferenceConfig, choose_device
from atdsr.inference.onnx_network import OnnxNetwork, is_onnx
from atdsr.inference.runner import self_ensemble
from atdsr.inference.upscaler import ParameterSet, Upscaler
from atdsr.network.unet import Network
from atdsr.weights import WeightsError, models, read_tensors, read_weights

BASELINES = ("bicubic", "lanczos")
"""The methods without learned parameters that enlarge, by any scale."""

IDENTITY = "identity"
"""The baseline of what restores: the picture as it is, clamped to [0, 1]."""

DEFAULT_CONFIG = InferenceConfig(tile="off")
"""How networks run by default: without tiles, since tiling changes the result."""


class MethodError(AtdsrError):
    """Methods that cannot be compared as requested."""


def named(
    names: Sequence[str],
    scale: int | None = None,
    config: InferenceConfig = DEFAULT_CONFIG,
    *,
    category_size: int | None = None,
    prefer: ParameterSet = "params_ema",
    reporter: Reporter = SILENT,
    degrade: Sequence[Damage | None] = (),
) -> list[Method]:
    """Return the methods of these names, under distinct names; bicubic always comes first.

    Where a network restores, `IDENTITY` comes before it.

    Args:
        names: Baselines, `IDENTITY`, named models, or weight files of ATD, ATD-U or a network that
            spandrel reads. If the list is empty, the bundled model of the scale is used.
        scale: Scale of all networks. None uses each network at its own scale, and the baselines at
            each of these, or at 2.
        config: How the networks run. Networks other than ATD always run in float32 and untiled.
        category_size: Category size for weight files that do not tell it.
        prefer: Which of two sets of parameters to take, as for `atdsr.load`.
        reporter: Receives a notice if a picture takes much memory.
        degrade: What the pictures suffer from that are restored; None stands for nothing that is
            done here. By default, it is what a named model is for. A network for gray pictures
            is given gray ones in any case.

    Raises:
        WeightsError: There is no such file or model.
        OtherNetworkError: spandrel does not read the file, or is not installed.
        MethodError: A network has another scale, or restores it is not known what.
        UpscaleError: There is no such device, precision or tile.
    """
    without = (*BASELINES, IDENTITY)
    names = [name.lower() if name.lower() in without else models.canonical(name) for name in names]
    network_names = [
        name for name in names or [models.for_scale(scale or 2).name] if name not in without
    ]
    labels = _labels(network_names)
    asked = _Asked(config, category_size, prefer, reporter, degrade)
    networks = [
        _network(name, label, asked) for name, label in zip(network_names, labels, strict=True)
    ]
    for name, method in zip(network_names, networks, strict=True):
        if scale not in (None, method.scale):
            raise MethodError(f"{_does(name, method)}, not by {scale}; drop it or --scale.")
    baselines = [name for name in dict.fromkeys(names) if name in BASELINES]
    scales = sorted({method.scale for method in networks} - {RESTORING})
    if baselines and not scales:
        scales = [scale or 2]
    compared = [
        baseline(name, scale) for scale in scales for name in dict.fromkeys(["bicubic", *baselines])
    ]
    if any(method.scale == RESTORING for method in networks):
        compared.append(identity())
    elif IDENTITY in names:
        compared.append(identity(_damages(IDENTITY, degrade)))
    return _with_distinct_names([*compared, *networks])


def baseline(name: str, scale: int) -> Method:
    """Return one of `BASELINES`: MATLAB's bicubic, or Pillow's Lanczos.

    Example:
        >>> baseline("bicubic", 2).enlarge(np.zeros((3, 5, 3), np.uint8)).shape
        (6, 10, 3)
    """

    def bicubic(samples: np.ndarray) -> np.ndarray:
        return resample.upscale(samples, scale)

    def lanczos(samples: np.ndarray) -> np.ndarray:
        size = (samples.shape[1] * scale, samples.shape[0] * scale)
        return np.asarray(Image.fromarray(samples).resize(size, Image.Resampling.LANCZOS))

    return Method(name, scale, {"bicubic": bicubic, "lanczos": lanczos}[name])


def identity(damages: tuple[Damage, ...] | None = None) -> Method:
    """Return the baseline of what restores: the picture itself, clamped to [0, 1].

    Args:
        damages: What it is measured on, as for `Method`.
    """
    return Method(IDENTITY, RESTORING, lambda samples: np.clip(samples, 0, 1), damages=damages)


def network(
    upscaler: Upscaler,
    name: str,
    identity: str = "",
    reporter: Reporter = SILENT,
    damages: tuple[Damage, ...] | None = None,
) -> Method:
    """Return an ATD or ATD-U as a method; it computes the same pixels as for a user's picture.

    Args:
        upscaler: The network. If it is a self-ensemble, the name gets a "+".
        name: Name of the method.
        identity: Something that tells its weights from others, such as their SHA-256, so that an
            interrupted evaluation is continued with the same weights only.
        reporter: Receives a notice if a picture takes much memory.
        damages: What it is measured on where it restores, as for `Method`.
    """
    config = upscaler.config
    options = [config.precision, config.tile, config.overlap, config.ensemble]
    return Method(
        name=f"{name}+" if config.ensemble else name,
        scale=upscaler.scale,
        enlarge=lambda samples: upscaler(samples, tell=reporter.notice),
        parameters=upscaler.parameters,
        identity=json.dumps([identity, upscaler.device.type, *options]),
        device=upscaler.device.type,
        damages=damages,
    )


def other_network(
    network: OtherNetwork, name: str, device: torch.device, identity: str, ensemble: bool
) -> Method:
    """Return a network of another architecture as a method, with the same rounding as ATD."""

    def enlarge(samples: np.ndarray) -> np.ndarray:
        image = imaging.to_tensor(samples, device=device)
        enlarged = self_ensemble(network, image) if ensemble else network(image)
        return imaging.to_array(enlarged)

    return Method(
        name=f"{name}+" if ensemble else name,
        scale=network.scale,
        enlarge=enlarge,
        parameters=network.parameters,
        identity=json.dumps([identity, device.type, ensemble]),
        device=device.type,
    )


def teacher(name: str, scale: int, device: str = "auto") -> Teacher:
    """Return a network whose results are packed as targets to train on (distillation).

    Args:
        name: As for `named`, but no baseline.
        scale: Its scale.
        device: Device to compute on.

    Raises:
        MethodError: The name is a baseline's, or the network has another scale.
        WeightsError, OtherNetworkError, UpscaleError: As `named` raises them.
    """
    if name.lower() in BASELINES:
        raise MethodError(f"{name} is no network to learn from; name a model or a file of weights.")
    *_, method = named([name], config=InferenceConfig(device), degrade=[None])
    if method.scale != scale:
        raise MethodError(
            f"{_does(name, method)}, not by {scale}; name another network, or pack for its scale."
        )
    return Teacher(method.name, f"{method.name} {method.identity}", scale, method.enlarge)


def _labels(names: Sequence[str]) -> list[str]:
    """Return the names of models, and of files without suffix, with the folder if two are alike.

    The weights of all training runs are called `best` or `weights`; their folders tell them apart.
    """
    paths = [Path(name) for name in names if models.is_file(name)]
    alike = Counter(path.stem for path in paths)
    in_folders = Counter((path.absolute().parent.name, path.stem) for path in paths)
    labels: list[str] = []
    for name in names:
        path = Path(name)
        folder = path.absolute().parent.name
        if not models.is_file(name):
            labels.append(name)
        elif alike[path.stem] > 1 and in_folders[folder, path.stem] == 1:
            labels.append(f"{folder}/{path.stem}")
        else:
            labels.append(path.stem)
    return labels


class _Asked(NamedTuple):
    """What is asked for beside the names of the networks; see `named`."""

    config: InferenceConfig
    category_size: int | None
    prefer: ParameterSet
    reporter: Reporter
    degrade: Sequence[Damage | None]


def _network(name: str, label: str, asked: _Asked) -> Method:
    """Return an ATD or ATD-U by its name or file, one in an ONNX file, or what spandrel finds."""
    config, degrade = asked.config, asked.degrade
    if not models.is_file(name):
        model = models.find(name, (*BASELINES, IDENTITY))
        if isinstance(model, models.OfficialModel) and model.damage and not degrade:
            degrade = [parse(model.damage)]
        upscaler = Upscaler(model.load(asked.prefer).build(), config)
        sha256 = model.sha256
    else:
        path = Path(name)
        try:
            upscaler = Upscaler(_read(path, asked), config)
        except WeightsError:
            if not path.is_file() or _is_atd(path):
                raise
            device = choose_device(config.device)
            loaded = other_networks.load(path, device)
            return other_network(loaded, label, device, files.sha256(path), config.ensemble)
        sha256 = files.sha256(path)
    damages = None
    if upscaler.scale == RESTORING:
        damages = _damages(name, degrade, gray=upscaler.channels == 1)
    return network(upscaler, label, f"{sha256} {asked.prefer}", asked.reporter, damages)


def _read(path: Path, asked: _Asked) -> Network | OnnxNetwork:
    """Return the network of a file.

    Raises:
        WeightsError, UpscaleError: It cannot be read.
    """
    if is_onnx(path):
        return OnnxNetwork(path, asked.config.provider or "cpu")
    return read_weights(path, category_size=asked.category_size, prefer=asked.prefer).build()


def _damages(
    name: str, degrade: Sequence[Damage | None], *, gray: bool = False
) -> tuple[Damage, ...]:
    """Return what a method that restores is measured on.

    Args:
        name: Name of the method, for the sentence.
        degrade: As for `named`.
        gray: Whether it takes gray pictures only.

    Raises:
        MethodError: Nothing says what it is.
    """
    if not degrade:
        raise MethodError(
            f"{name} does not enlarge; say what its pictures suffer from, as in --degrade noise25 "
            "or --degrade jpeg10."
        )
    damages = (each or Damage() for each in degrade)
    return tuple(dict.fromkeys(replace(each, gray=gray or each.gray) for each in damages))


def _does(name: str, method: Method) -> str:
    does = "restores" if method.scale == RESTORING else f"enlarges by {method.scale}"
    return f"{name} {does}"


def _is_atd(path: Path) -> bool:
    """Whether a refused file is an ATD's nevertheless, or one that PyTorch cannot read either."""
    try:
        tensors, _ = read_tensors(path)
    except WeightsError:
        return True
    return any(name.endswith((".residual_group.td", "_blks.block.td")) for name in tensors)


def _with_distinct_names(methods: Sequence[Method]) -> list[Method]:
    """Return the methods under distinct names, with the scale and then a number if needed."""
    counts = Counter(method.name for method in methods)
    several_scales = len({method.scale for method in methods}) > 1
    renamed: list[Method] = []
    for method in methods:
        name = method.name
        if counts[name] > 1 and several_scales:
            name = f"{name}-x{method.scale}"
        candidates = (name, *(f"{name}-{number}" for number in range(2, len(methods) + 1)))
        taken = {other.name for other in renamed}
        free = next(candidate for candidate in candidates if candidate not in taken)
        renamed.append(replace(method, name=free))
    return renamed
