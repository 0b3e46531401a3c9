"""Files with weights: official `.pth`, safetensors, and the state of a training run.

On disk there is one dialect, the official parameter names, so that files written here load in
spandrel, chaiNNer and ComfyUI and official files load here. In memory the names are ours; the
table below is the only place that knows both.
"""

import dataclasses
import io
import itertools
import json
import math
import pickle
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from atdsr.errors import AtdsrError
from atdsr.files import opened, replacing
from atdsr.model import ATD, ATDConfig, ConfigError, Head
from atdsr.windows import position_index

SUFFIXES = (".safetensors", ".pth")
"""What a file with weights may be called."""

StateDict = dict[str, Tensor]

_CONFIG_KEY = "atdsr.config"
_POSITION_INDEX = "relative_position_index_SA"

# (ours, theirs), applied in this order to a whole name; no pattern fits what an earlier one made
_OFFICIAL_NAMES = tuple(
    (re.compile(ours), theirs)
    for ours, theirs in (
        (r"^norm_in\.", "patch_embed.norm."),
        (r"^norm_out\.", "norm."),
        (r"^blocks\.(\d+)\.dictionary$", r"layers.\1.residual_group.td"),
        (r"^blocks\.(\d+)\.conv\.", r"layers.\1.conv."),
        (r"^blocks\.(\d+)\.layers\.", r"layers.\1.residual_group.layers."),
        (r"\.norm_attention\.", ".norm1."),
        (r"\.norm_ffn\.", ".norm2."),
        (r"\.refinement\.sigma$", ".sigma"),
        (r"\.refinement\.", ".norm3."),
        (r"\.qkv\.", ".wqkv."),
        (r"\.window\.bias_table$", ".attn_win.relative_position_bias_table"),
        (r"\.window\.proj\.", ".attn_win.proj."),
        (r"\.dictionary\.query\.", ".attn_atd.wq."),
        (r"\.dictionary\.key\.", ".attn_atd.wk."),
        (r"\.dictionary\.value\.", ".attn_atd.wv."),
        (r"\.dictionary\.scale$", ".attn_atd.scale"),
        (r"\.category\.", ".attn_aca."),
        (r"\.ffn\.depthwise\.", ".convffn.dwconv.depthwise_conv.0."),
        (r"\.ffn\.", ".convffn."),
        (r"^head\.0\.", "upsample.0."),
        (r"^head\.reduce\.", "conv_before_upsample."),
        (r"^head\.enlarge\.", "upsample."),
        (r"^head\.to_rgb\.", "conv_last."),
    )
)


class CheckpointError(AtdsrError):
    """A file with weights that cannot be read, or holds something else."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a file holds: an ATD's configuration and its parameters under our names."""

    config: ATDConfig
    state: StateDict

    @property
    def parameters(self) -> int:
        """How many numbers the network has learned or keeps for the files' sake."""
        return sum(tensor.numel() for tensor in self.state.values())

    def build(self) -> ATD:
        """The network with these parameters, in float32, ready for inference."""
        with torch.device("meta"):
            model = ATD(self.config)
        form = {"copy": True, "memory_format": torch.contiguous_format}
        copies = {
            name: tensor.detach().to("cpu", torch.float32, **form)
            for name, tensor in self.state.items()
        }
        model.load_state_dict(copies, assign=True)  # `to_empty` would import sympy
        model.reset_buffers()
        return model.eval()


# ------------------------------------------------------------------------------------- reading


def load(
    path: str | Path, *, category_size: int | None = None, prefer: str = "params_ema"
) -> Weights:
    """Read weights from a `.safetensors` or official `.pth` file; no code in it is ever run.

    Args:
        path: the file.
        category_size: tokens in a run of the category attention, where the file cannot tell it;
            wins over what the file says.
        prefer: which of an official file's two sets to take if it has it, `params_ema` or
            `params`; then the other, then the bare file.

    Raises:
        CheckpointError: one sentence: no such file, not a file of weights, damaged, of another
            architecture, or of an ATD that this version does not build.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path, prefer)
    try:
        config = _config_of(tensors, metadata, category_size)
        state = _from_official(tensors, config)
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return Weights(config, state)


def read_tensors(path: Path, prefer: str = "params_ema") -> tuple[StateDict, dict[str, str]]:
    """The tensors of a file under the names it has, and its metadata.

    Raises:
        CheckpointError: see `load`.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name a .safetensors or .pth file.")
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; name a .safetensors or .pth file.")
    try:
        opened(path).close()  # both libraries would wait for what a pipe may bring
        if path.suffix.lower() == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        return _unwrap(_torch_load(path), path, prefer), {}
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None
    except safetensors.SafetensorError:
        raise CheckpointError(
            f"{path} is no safetensors file or is damaged; fetch it again."
        ) from None


def _torch_load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old archives warn about their own format
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "global" in str(error).lower():
            raise CheckpointError(
                f"{path} holds more than tensors and would run code when read; it was not loaded."
            ) from None
        raise CheckpointError(f"{path} is no PyTorch file or is damaged; fetch it again.") from None
    except OSError:
        raise
    except Exception:  # a damaged archive fails in as many ways as it can be damaged
        raise CheckpointError(f"{path} is no PyTorch file or is damaged; fetch it again.") from None


def _unwrap(content: Any, path: Path, prefer: str) -> StateDict:
    """The tensors inside `params_ema`, `params` or the bare file."""
    if isinstance(content, Mapping):
        for key in (prefer, "params_ema", "params"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        if content and all(isinstance(value, Tensor) for value in content.values()):
            # DataParallel writes the prefix, and the official loader takes it off as well
            return {str(key).removeprefix("module."): value for key, value in content.items()}
    raise CheckpointError(f"{path} is a PyTorch file but holds no weights of a model.")


# ------------------------------------------------------------------------------- configuration


def infer_config(tensors: Mapping[str, Tensor], category_size: int | None = None) -> ATDConfig:
    """The configuration that official tensors have, by their names and shapes.

    `img_range` is 1 in every published file and cannot be seen. The category size cannot be seen
    either; it is known for the two published networks and asked for otherwise.

    Raises:
        CheckpointError: not an ATD, or one that this version does not build; the file's name is
            for the caller to add.
    """
    _refuse_other_networks(tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        width = shapes["conv_first.weight"][0]
        blocks = _count(shapes, r"layers\.(\d+)\.residual_group\.td")
        group = "layers.{}.residual_group.layers."
        first = group.format(0) + "0."
        hidden, _, kernel, _ = shapes[first + "convffn.dwconv.depthwise_conv.0.weight"]
        table = "attn_win.relative_position_bias_table"
        head, scale = _head_of(shapes)
        if category_size is None:
            category_size = {
                (48, "pixelshuffledirect"): 128,
                (210, "pixelshuffle"): 256,
            }.get((width, head))
        if category_size is None:
            raise CheckpointError(
                f"an ATD of width {width} does not tell its category size; give category_size= "
                "(--category-size on the command line), the `category_size` of its training."
            )
        return ATDConfig(
            scale=scale,
            width=width,
            depths=tuple(
                _count(shapes, re.escape(group.format(block)) + r"(\d+)\.norm1\.weight")
                for block in range(blocks)
            ),
            heads=tuple(shapes[group.format(block) + "0." + table][1] for block in range(blocks)),
            category_size=category_size,
            dictionary_size=shapes["layers.0.residual_group.td"][0],
            reduced_width=shapes[first + "attn_atd.wq.weight"][0],
            ffn_kernel=kernel,
            ffn_ratio=_ratio(width, hidden),
            head=head,
            window=(math.isqrt(shapes[first + table][0]) + 1) // 2,
        )
    except (KeyError, IndexError, ValueError):
        raise CheckpointError(
            "some of ATD's tensors are missing or misshapen; the file may be cut short."
        ) from None


def _refuse_other_networks(tensors: Mapping[str, Tensor]) -> None:
    """Say by name what cannot be built.

    Raises:
        CheckpointError: naming the architecture or the option.
    """
    if "layers.0.residual_group.td" not in tensors:
        example = next(iter(sorted(tensors)), "nothing")
        raise CheckpointError(
            f"these are not the weights of an ATD (the first tensor is {example!r}); "
            "no token dictionary is among them."
        )
    if tensors["conv_first.weight"].shape[1:2] != (3,) if "conv_first.weight" in tensors else False:
        raise CheckpointError("this ATD does not take RGB pictures; only 3 channels are built.")
    refused = {
        "conv_up1.weight": "the upsampler 'nearest+conv'",
        "layers.0.conv.0.weight": "resi_connection '3conv'",
        "absolute_pos_embed": "absolute position embedding (ape)",
        "no_norm": "the variant without norm",
    }
    for name, what in refused.items():
        if name in tensors:
            raise CheckpointError(f"this ATD uses {what}, which this version does not build.")
    if "upsample.0.weight" not in tensors:
        raise CheckpointError(
            "this ATD has `upscale: 1` (it restores and does not enlarge), which this version "
            "does not build."
        )


def _head_of(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Head, int]:
    channels = shapes["upsample.0.weight"][0]
    if "conv_before_upsample.0.weight" not in shapes:
        return "pixelshuffledirect", math.isqrt(channels // 3)
    steps = _count(shapes, r"upsample\.(\d+)\.weight")
    return "pixelshuffle", math.isqrt(channels // 64) ** steps


def _count(names: Iterable[str], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in names)


def _ratio(width: int, hidden: int) -> float:
    """A ratio with `int(width * ratio) == hidden`, whatever the division rounds to."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def _config_of(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], category_size: int | None
) -> ATDConfig:
    if _CONFIG_KEY not in metadata:
        return infer_config(tensors, category_size)
    try:
        fields = json.loads(metadata[_CONFIG_KEY])
        fields |= {name: tuple(fields[name]) for name in ("depths", "heads")}
        config = ATDConfig(**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"its metadata is no configuration of an ATD ({error}).") from None
    if category_size is not None:
        config = dataclasses.replace(config, category_size=category_size)
    return config


# --------------------------------------------------------------------------------------- names


def official_name(name: str) -> str:
    """Our name of a parameter -> the official one."""
    for ours, theirs in _OFFICIAL_NAMES:
        name = ours.sub(theirs, name)
    return name


def to_official(weights: Weights) -> StateDict:
    """Parameters under the official names, with the buffer that spandrel looks for."""
    tensors = {official_name(name): tensor for name, tensor in weights.state.items()}
    tensors[_POSITION_INDEX] = position_index(weights.config.window)
    return tensors


def _from_official(tensors: Mapping[str, Tensor], config: ATDConfig) -> StateDict:
    """Parameters under our names, checked against the configuration.

    Raises:
        CheckpointError: a tensor is missing, has another shape, or has no place in the network.
    """
    with torch.device("meta"):
        expected = ATD(config).state_dict()
    state: StateDict = {}
    for name, like in expected.items():
        theirs = official_name(name)
        if theirs not in tensors:
            raise CheckpointError(f"the tensor {theirs} is missing; the file may be cut short.")
        tensor = tensors[theirs]
        if tensor.shape != like.shape or not tensor.is_floating_point():
            raise CheckpointError(
                f"the tensor {theirs} is {tuple(tensor.shape)} of {tensor.dtype} where the "
                f"network has {tuple(like.shape)} floats."
            )
        state[name] = tensor
    known = {official_name(name) for name in expected} | {_POSITION_INDEX}
    for name in tensors:
        if name not in known:
            raise CheckpointError(f"the tensor {name} has no place in an ATD as configured.")
    return state


# ------------------------------------------------------------------------------------- writing


def save(
    weights: Weights,
    path: str | Path,
    *,
    overwrite: bool = False,
    trained: StateDict | None = None,
) -> None:
    """Write weights by suffix: `.safetensors` with the configuration, or official `.pth`.

    A `.pth` holds them under `params_ema`, the key that the official code's options name.

    Args:
        weights: what to write.
        path: the file.
        overwrite: whether an existing one may be replaced.
        trained: the parameters that `weights` are the moving average of, which a `.pth` has
            under `params`, for who trains on.

    Raises:
        CheckpointError: another suffix.
        FileError: the file exists and `overwrite` is False, or it cannot be written.
    """
    path = Path(path)
    tensors = {name: tensor.contiguous() for name, tensor in to_official(weights).items()}
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointError(f"{path}: weights are written as .safetensors or .pth.")
    if path.suffix.lower() == ".safetensors":
        # one key alone: safetensors writes several in random order, and equal weights shall
        # give equal files
        metadata = {_CONFIG_KEY: json.dumps(dataclasses.asdict(weights.config))}
        content = safetensors.torch.save(tensors, metadata)
    else:
        sets = {"params_ema": tensors}
        if trained is not None:
            sets["params"] = to_official(dataclasses.replace(weights, state=trained))
        content = archive(sets)
    # both libraries fail on a full disk in words of their own, so they do not write the file
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)


def archive(content: Any) -> memoryview:
    """The bytes that `torch.save` makes of tensors and containers of them."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def load_run(path: Path) -> dict[str, Any]:
    """The state of a training run.

    Raises:
        CheckpointError: the file is damaged or is something else.
    """
    content = _torch_load(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is no state of a training run.")
    return content


# --------------------------------------------------------------------------------- fine-tuning


def initialise(model: ATD, state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Take over every parameter whose name and shape match, as fine-tuning across scales does.

    A convolution before a pixel shuffle, whose shape follows from the scale, is interpolated: the
    kernels of the new sub-pixels lie on straight lines through those of the old ones. So a network
    for x3 or x4 begins with what x2 has learned also there.

    Returns:
        The official names of the parameters that are interpolated, and of those that keep their
        fresh values.
    """
    own = model.state_dict()
    taken = {
        name: tensor
        for name, tensor in state.items()
        if name in own and own[name].shape == tensor.shape
    }
    interpolated = {
        name: tensor
        for name, factor in _before_shuffles(model)
        if name in state
        and name not in taken
        and (tensor := _at_subpixels(state[name], own[name], factor)) is not None
    }
    taken |= interpolated
    model.load_state_dict(taken, strict=False)
    fresh = [official_name(name) for name in own if name not in taken]
    return [official_name(name) for name in interpolated], fresh


def _before_shuffles(model: ATD) -> Iterator[tuple[str, int]]:
    """Parameters of convolutions that a pixel shuffle follows, and the shuffle's factor."""
    for path, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            for (name, before), (_, shuffle) in itertools.pairwise(module.named_children()):
                if isinstance(shuffle, nn.PixelShuffle):
                    for parameter, _ in before.named_parameters():
                        yield f"{path}.{name}.{parameter}", shuffle.upscale_factor


def _at_subpixels(old: Tensor, new: Tensor, factor: int) -> Tensor | None:
    """`c*s*s ...` for another factor than s, as `c*factor*factor ...`; None if it is no such thing.

    Along both sides of a pixel: linear between the centres of sub-pixels, and beyond them.
    """
    channels = len(new) // factor**2
    before = math.isqrt(len(old) // channels)
    if before < 2 or len(old) != channels * before**2 or old.shape[1:] != new.shape[1:]:
        return None
    places = ((torch.arange(factor) + 0.5) / factor * before - 0.5).to(old)
    left = places.floor().clamp(0, before - 2)
    at = torch.arange(before).to(old)
    share = places - left
    mix = (at == left[:, None]) * (1 - share[:, None]) + (at == left[:, None] + 1) * share[:, None]
    cells = old.reshape(channels, before, before, -1)
    return torch.einsum("ia, jb, cabk -> cijk", mix, mix, cells).reshape(new.shape)
