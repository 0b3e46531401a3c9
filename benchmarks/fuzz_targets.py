"""The targets of `fuzz.py`: all readers of untrusted files that this project has written.

A target takes bytes and calls a reader. It returns, or raises an `AtdsrError` on purpose; anything
else, a warning included, is a fault. Some targets also assert what must be true of a result.
"""

import contextlib
import functools
import io
import json
import linecache
import random
import struct
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch

import atdsr
from atdsr import imaging
from atdsr.base import yaml_io
from atdsr.base.errors import AtdsrError
from atdsr.batch.config import BatchConfig, Factor
from atdsr.batch.naming import Template
from atdsr.datasets.packed_set import INDEX, Index
from atdsr.evaluation.records import Records
from atdsr.imaging import Picture, colour, formats, metadata, vips
from atdsr.imaging.codecs import avif, bmp, gif, libvips, png, webp
from atdsr.imaging.codecs.isobmff import items, tracks
from atdsr.imaging.codecs.tiff.colour import profile_from_tags
from atdsr.imaging.codecs.tiff.page import TAGS
from atdsr.imaging.metadata import tags, xmp
from atdsr.imaging.picture import Metadata
from atdsr.network.model import ATD
from atdsr.reports import training_runs
from atdsr.training import basicsr, recipes
from atdsr.training.run_log import LOG_FILE
from atdsr.weights import Weights, read_weights, write_weights
from hostile_corpus import MUTATIONS
from hostile_seeds import checked, said_of, seeds, xmp_packet
from tiny_network import TINY

SOURCES = str(Path(atdsr.__file__).parent)
MOST_PIXELS = 2**14
"""The limit for a picture here: a large one would be honest work, which looks like a hang."""

_ACCIDENTS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, struct.error)
_SEGMENT = 65_533  # bytes of EXIF that JPEG holds


@dataclass(frozen=True)
class Target:
    """A reader: what calls it with bytes, and small valid files to begin with."""

    call: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]


TARGETS: dict[str, Target] = {}


def fault(name: str, data: bytes) -> BaseException | None:
    """What is wrong with how a target takes these bytes; None where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            TARGETS[name].call(data)
        except AtdsrError as error:
            return _slip(error)
        except Exception as error:
            return error
    return None


def _slip(error: AtdsrError) -> BaseException | None:
    """An error that no line of ours raised on purpose, and whose words became our sentence."""
    cause = error.__cause__
    if not isinstance(cause, _ACCIDENTS) or isinstance(cause, AtdsrError):
        return None
    frame = traceback.extract_tb(cause.__traceback__)[-1]
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    by_accident = frame.filename.startswith(SOURCES) and not line.startswith("raise")
    return cause if by_accident and str(cause) and str(cause) in str(error) else None


def place(error: BaseException) -> str:
    """The kind of an error and the line of this project that it went through last."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(SOURCES)] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    return f"{type(error).__name__} at {where}"


def mutants(name: str, count: int, seed: int = 0) -> Iterable[bytes]:
    """The seeds of a target and as many mutated ones as asked for, without a fuzzer."""
    found = TARGETS[name].seeds()
    yield from found
    rng = random.Random(f"{name} {seed}")
    for _ in range(count):
        data = rng.choice(found)
        for _ in range(rng.choice((1, 1, 2, 3))):
            data = rng.choice(MUTATIONS)(rng, data) or b"\0"
        yield data


def _target(
    name: str, make: Callable[[], Sequence[bytes]]
) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    def add(call: Callable[[bytes], object]) -> Callable[[bytes], object]:
        TARGETS[name] = Target(call, functools.cache(make))
        return call

    return add


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()  # goes away with the process


def _file(name: str, data: bytes) -> Path:
    path = Path(_folder().name, name)
    path.write_bytes(data)
    return path


# ------------------------------------------------------------------------------------- pictures


def _exif_seeds() -> Sequence[bytes]:
    pages = [data for what, (_, data) in seeds().items() if what.startswith("tiff")]
    return [said_of("II"), said_of("MM"), b"Exif\0\0" + said_of("II"), *pages[:3]]


@_target("exif", _exif_seeds)
def _(data: bytes) -> None:
    metadata.resolution(data)
    metadata.is_adobe_rgb(data)
    texts = (("parameters", "a cat"), ("Title", "a title"), ("Author", "ä"))
    given = Metadata(exif=data, dpi=(300.0, 300.0), text=texts, size=(20, 30))
    cleaned = metadata.clean_metadata(given, 40, 60)
    assert len(cleaned.exif or b"") <= _SEGMENT
    assert metadata.orientation(cleaned.exif) == 1
    placed, _left = metadata.with_text_in_exif(cleaned)
    assert len(placed.exif or b"") <= _SEGMENT


@_target("tiff_tables", lambda: [data for _, (_, data) in seeds().items() if data[:2] == b"II"])
def _(data: bytes) -> None:
    with contextlib.suppress(tags.TagError):
        for at, table in tags.tables(data, 10_000, TAGS):
            metadata.exif_of_page(data, at)
            for channels in (1, 3):
                profile_from_tags(table, tags.layout_of(data), channels)


def _png_seeds() -> Sequence[bytes]:
    return [data for what, (_, data) in seeds().items() if what.startswith("png")]


@_target("png_chunks", _png_seeds)
def _(data: bytes) -> None:
    chunks = png.read_chunks(checked(data))
    for channels in (1, 3):
        samples = np.zeros((2, 3, channels), np.uint8)
        with vips.named_errors("a.png", "it cannot be read"):
            picture = chunks.apply_colour(Picture(samples, metadata=chunks.metadata), None)
            list(png.added_chunks(picture, libvips.metadata_for(picture, "png")))
            imaging.notices(picture, "a.jpg")


def _animations() -> Sequence[bytes]:
    return [data for what, (_, data) in seeds().items() if "frames" in what]


_TIMELINES = {"avif": avif, "gif": gif, "png": png, "webp": webp}


@_target("timeline", _animations)
def _(data: bytes) -> None:
    name = formats.recognise(data[:64])
    if name in _TIMELINES:
        _TIMELINES[name].read_timeline(data)


@_target("xmp", lambda: [xmp_packet(), xmp_packet("UTF-16")])
def _(data: bytes) -> None:
    xmp.orientation(data)
    for turned in (False, True):
        made = xmp.rewrite(data, (80, 60), (40, 30), turned=turned)
        if made is not None:
            assert xmp.orientation(made) in (None, 1)
            assert xmp.rewrite(made, (80, 60), (80, 60), turned=False) is not None


def _profiles() -> Sequence[bytes]:
    points = ((1, 8), (9, 16), (12, 13))
    made = [
        colour.icc_from_code_points(imaging.CodePoints(*pair), gray=gray)
        for pair in points
        for gray in (False, True)
    ]
    return [icc for icc in made if icc]


@_target("icc", _profiles)
def _(data: bytes) -> None:
    colour.profile_name(data)
    for channels, kind in ((1, np.uint8), (3, np.uint16)):
        picture = Picture(np.full((2, 3, channels), 99, kind), icc=data)
        with vips.named_errors("a.png", "it cannot be read"):
            colour.to_srgb(picture)
            if channels == 1:
                colour.rgb_from_gray_profile(data)


@_target("bmp_header", lambda: [data + bytes(90) for _, (_, data) in _of_suffix(".bmp")])
def _(data: bytes) -> None:
    for channels in (1, 3):
        bmp.read_profile(data, channels)


@_target("boxes", lambda: [data for _, (_, data) in _of_suffix(".avif", ".heic")])
def _(data: bytes) -> None:
    for read in (items.primary_item, tracks.picture_track):
        with contextlib.suppress(imaging.PictureError):
            read(data)


def _of_suffix(*suffixes: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [(what, one) for what, one in seeds().items() if one[0] in suffixes]


def _picture_file(name: str, data: bytes) -> None:
    """Read a whole file, as `upscale` does."""
    data = checked(data) if name == "png" else data
    for picture in imaging.open_frames(_file(f"a.{name}", data), max_pixels=MOST_PIXELS):
        assert picture.samples.ndim == 3


_formats = {formats.recognise(data[:64]) for _, data in seeds().values()} - {None}
for _name in sorted(filter(None, _formats)):
    TARGETS[f"file_{_name}"] = Target(
        functools.partial(_picture_file, _name),
        functools.partial(
            lambda name: [d for _, d in seeds().values() if formats.recognise(d[:64]) == name],
            _name,
        ),
    )


# --------------------------------------------------------------------------- texts and weights

_YAML = b"""\
# all kinds of values
name: a run
lr: 2e-4
betas: [0.9, 0.99]
on: true
base: &base {a: 1, b: ~, c: "a\\tb"}
again: *base
text: |
  two
  lines
date: 2024-01-01
"""


@_target("yaml", lambda: [_YAML, b"%YAML 1.1\n---\n- !!int 0x1F\n- 1:30\n- .inf\n", b"a: ?\n"])
def _(data: bytes) -> None:
    content = yaml_io.parse(data.decode("utf-8", "replace"))
    if isinstance(content, dict):
        again = yaml_io.parse(yaml_io.write(content))
        assert repr(again) == repr(content)  # NaN is not equal to itself


def _recipes() -> Sequence[bytes]:
    own = [path.read_bytes() for path in sorted(Path(SOURCES, "recipes").glob("*.yaml"))[:3]]
    whole = recipes.dump(recipes.load("101_ATD_light_SRx2_scratch"))
    return [*own, whole.encode()]


@_target("recipe", _recipes)
def _(data: bytes) -> None:
    recipes.dump(recipes.load(_file("recipe.yaml", data)))


_TRAINING = b"""\
name: a
model_type: ATDModel
scale: 2
num_gpu: 1
manual_seed: 0
datasets:
  train: {name: D, type: PairedImageDataset, dataroot_gt: hr, dataroot_lq: lr,
    filename_tmpl: "{}x2", io_backend: {type: disk}, gt_size: 128, use_hflip: true,
    use_rot: true, num_worker_per_gpu: 6, batch_size_per_gpu: 4, dataset_enlarge_ratio: 1}
  val_1: {name: Set5, type: PairedImageDataset, dataroot_gt: a, dataroot_lq: b,
    io_backend: {type: disk}}
network_g: {type: ATD, upscale: 2, in_chans: 3, img_size: 64, window_size: 16, img_range: 1.,
  embed_dim: 48, depths: [6, 6], num_heads: [4, 4], category_size: 128, num_tokens: 64,
  reducted_dim: 8, convffn_kernel_size: 7, mlp_ratio: 1, upsampler: pixelshuffledirect,
  resi_connection: 1conv, use_checkpoint: false}
path: {pretrain_network_g: ~, strict_load_g: true, resume_state: ~}
train:
  ema_decay: 0.999
  optim_g: {type: AdamW, lr: !!float 2e-4, weight_decay: 0, betas: [0.9, 0.9]}
  scheduler: {type: MultiStepLR, milestones: [10, 20], gamma: 0.5}
  total_iter: 30
  warmup_iter: 10
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
val: {val_freq: 2e4, save_img: false,
  metrics: {psnr: {type: calculate_psnr, crop_border: 2, test_y_channel: true}}}
logger: {print_freq: 100, save_checkpoint_freq: 1e4, use_tb_logger: true}
dist_params: {backend: nccl, port: 29500}
"""
_TESTING = b"""\
name: a
model_type: ATDModel
scale: 2
num_gpu: 1
manual_seed: 0
datasets:
  test_1: {name: Set5, type: PairedImageDataset, dataroot_gt: a, dataroot_lq: b,
    filename_tmpl: "{}x2", io_backend: {type: disk}}
network_g: {type: ATD, upscale: 2, in_chans: 3, img_size: 64, window_size: 16, img_range: 1.,
  embed_dim: 48, depths: [6, 6], num_heads: [4, 4], category_size: 128, num_tokens: 64,
  reducted_dim: 8, convffn_kernel_size: 7, mlp_ratio: 1, upsampler: pixelshuffledirect,
  resi_connection: 1conv}
path: {pretrain_network_g: a.pth, strict_load_g: true}
val: {save_img: true, suffix: ~,
  metrics: {psnr: {type: calculate_psnr, crop_border: 2, test_y_channel: true}}}
"""


@_target("options", lambda: [_TRAINING, _TESTING])
def _(data: bytes) -> None:
    path = _file("options.yml", data)
    for read in (basicsr.read_training, basicsr.read_test):
        try:
            read(path)
        except AtdsrError as error:
            if slip := _slip(error):
                raise slip from None


@functools.cache
def _tiny() -> tuple[str, dict[str, torch.Tensor]]:
    """The metadata's key of a configuration, and some tensors of an official file."""
    path = _file("tiny.safetensors", b"")
    path.unlink()
    write_weights(Weights(TINY, ATD(TINY).state_dict()), path)
    with safetensors.safe_open(path, framework="pt") as file:
        key = next(iter(file.metadata()))
        return key, {name: file.get_tensor(name) for name in list(file.keys())[:4]}


def _safetensors() -> Sequence[bytes]:
    key, tensors = _tiny()
    config = json.dumps(asdict(TINY))
    return [safetensors.torch.save(tensors, {key: config}), safetensors.torch.save(tensors)]


@_target("safetensors", _safetensors)
def _(data: bytes) -> None:
    read_weights(_file("a.safetensors", data))


@_target("configuration", lambda: [json.dumps(asdict(TINY)).encode(), b'{"scale": 2}', b"[[1e9]]"])
def _(data: bytes) -> None:
    key, tensors = _tiny()
    text = data.decode("utf-8", "replace")
    read_weights(_file("a.safetensors", safetensors.torch.save(tensors, {key: text})))


def _pickles() -> Sequence[bytes]:
    made = []
    for content in ({"params_ema": _tiny()[1]}, dict(_tiny()[1]), {"a": [1, 2.0, "b", None]}):
        file = io.BytesIO()
        torch.save(content, file)
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            made.append(archive.read(name))
    return made


@_target("pickle", _pickles)
def _(data: bytes) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for number in range(4):
            archive.writestr(f"archive/data/{number}", bytes(4096))
    read_weights(_file("a.pth", file.getvalue()))


_RECORDS = (
    {"kind": "started", "step": 0, "iterations": 9, "name": "a", "parameters": 7, "pictures": 8}
    | {"device": "CPU", "ranks": 2},
    {"kind": "line", "step": 1, "loss": 0.1, "lr": 1e-4, "gradient": 1.0, "seconds": 2.0}
    | {"waited": 0.1, "memory": 1000, "skipped": 0, "patch": 64, "batch": 4},
    {"kind": "validated", "step": 2, "psnr": {"Set5": 33.0}, "ssim": {}, "bicubic": {"Set5": 30.0}}
    | {"seconds": 3.0, "best": True, "strips": "a.png"},
    {"kind": "saved", "step": 2, "path": "a.pt"},
    {"kind": "told", "step": 2, "text": "a sentence"},
)


@_target("log", lambda: ["\n".join(map(json.dumps, _RECORDS)).encode(), b'{"kind": "line"}\n'])
def _(data: bytes) -> None:
    run = training_runs.read(_file(LOG_FILE, data).parent)
    training_runs.facts(run)
    for name in ("name", "best", "sets", "seconds", "recent_loss", "pace", "wait"):
        getattr(run, name)
    for validated in run.validations:
        _ = validated.mean_psnr


@_target("index", lambda: [_index()])
def _(data: bytes) -> None:
    Index.read(_file(INDEX, data).parent)


def _index() -> bytes:
    entry = {"name": "a.png", "height": 24, "width": 12, "offset": 0, "sources": {"hr": [9, 9]}}
    entry["blake2b"] = {"hr": "0" * 32, "x2": "f" * 32}
    content = {"format": 2, "scales": [2], "lr": "matlab", "pictures": [entry]}
    return json.dumps(content).encode()


@_target("records", lambda: [b'{"key": ["a", "b"], "record": {"psnr": 1.0}}\n' * 2, b"{}\n"])
def _(data: bytes) -> None:
    with Records(_file("records.jsonl", data).parent / "records") as records:
        records.add(("a",), {})
    (Path(_folder().name) / "records" / "records.jsonl").write_bytes(data)
    with Records(Path(_folder().name) / "records") as records:
        records.get(("a", "b"))


@_target("names", lambda: [b"{stem}_x{scale}{ext}", b"{parent}/{name}{width}.png", b"a{{b}}.jpg"])
def _(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    template = Template.from_config(BatchConfig(Factor(2), template=text))
    values = {"scale": "2", "width": 20, "height": 30, "model": "atd", "ext": ".png"}
    path = template.render(Path("a/b.png"), values)
    assert not path.is_absolute()
    template.earlier_outputs([Path("a/b.png"), Path("a/b_x2.png"), Path("c")])
