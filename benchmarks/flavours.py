"""Sends every kind of file in docs/pictures.md through everything except the network.

    python benchmarks/flavours.py
    python benchmarks/flavours.py --only "TIFF gray"    # names that begin so

Each file is read, enlarged to twice its size and written, in its own format and in others, by what
`atdsr upscale` runs, but bicubic stands in the place of the network, so that the right samples are
known. What is written is compared with them, and what it says of itself with what the input said,
by the readers of `flavour_readers`. Exit code 1 if there is any difference, or a refusal.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms

from atdsr import batch
from atdsr.base.reporter import Reporter
from atdsr.imaging import resample
from atdsr.inference.upscaler import Read, Upscaler
from flavour_corpus import Flavour, flavours
from flavour_corpus.basics import PROBE
from flavour_readers import facts, read

LOSSY = {".jpg": 1.5, ".jpe": 1.5, ".jfif": 1.5, ".mpo": 1.5, ".avif": 1.5}
"""How far the mean over a result may be from the right samples, of 255."""

EXACT = {".png", ".tif", ".tiff", ".jxl", ".jp2", ".ppm", ".pgm", ".pnm"}
"""Suffixes of formats that keep the kind of a picture."""

WITHOUT_PROFILE = {".gif", ".bmp", ".ppm", ".pgm", ".pnm"}
"""Suffixes of formats whose colours become sRGB."""

_METADATA = {"author", "description", "parameters", "taken", "creator", "dots"}
_METADATA |= {"size in EXIF", "sizes in pixels"}
_COLOURS = {"profile", "code points"}
WITHOUT = {
    ".gif": _METADATA | _COLOURS,
    ".bmp": (_METADATA | _COLOURS) - {"dots"},
    ".ppm": _METADATA | _COLOURS,
    ".jp2": _METADATA,
}
"""What a format cannot say."""

NEVER_SAID = {
    "turned": "it is said to lie turned",
    "places in the old file": "it has places in the old file",
}
"""What is never true of a result."""


# ----------------------------------------------------------------------- bicubic for the network


class Bicubic(Upscaler):
    """An upscaler of scale 2 with bicubic, rounded to 16 bits, in the place of a network."""

    def __init__(self) -> None:
        self.scale, self.restorer = 2, None

    def _bands(
        self, read: Read, batch: int, height: int, width: int, reporter: Reporter
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """All rows at once."""
        small = read(slice(None), slice(None)).double().numpy()
        wide = np.rint(small * 65535).astype(np.uint16)
        made = [resample.upscale(one.transpose(1, 2, 0), 2).transpose(2, 0, 1) for one in wide]
        reporter.progress(1.0)
        yield 0, torch.from_numpy(np.stack(made).astype(np.float64) / 65535)


def enlarged(samples: np.ndarray) -> np.ndarray:
    """What bicubic makes of samples: colour by way of 16 bits, alpha in its own depth."""
    colours = samples.shape[2] - (samples.shape[2] in (2, 4))
    narrow = samples.dtype == np.uint8
    wide = samples[..., :colours].astype(np.uint16) * (257 if narrow else 1)
    made = resample.upscale(wide, 2)
    made = eight_bits(made) if narrow else made
    if colours == samples.shape[2]:
        return made
    return np.dstack((made, resample.upscale(samples[..., colours:], 2)))


def eight_bits(samples: np.ndarray) -> np.ndarray:
    """16 bits rounded to 8; 8 bits as they are."""
    if samples.dtype == np.uint8:
        return samples
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


# -------------------------------------------------------------------------------- the comparison


def differences(flavour: Flavour, target: Path) -> Iterator[str]:
    """What is wrong with what became of a file, in words."""
    got, before = read(target), facts(flavour.data)
    right = [enlarged(frame) for frame in flavour.frames]
    bare = target.suffix in WITHOUT_PROFILE
    if bare and flavour.looks:
        right = [np.full_like(frame, flavour.looks) for frame in right]
    elif bare and "profile" in before:
        right = [in_srgb(frame, before["profile"]) for frame in right]
    if len(got) != len(right):
        yield f"{len(got)} frames instead of {len(right)}"
        return
    near = max(flavour.near, 2 if bare and (flavour.looks or "profile" in before) else 0)
    for number, (one, other) in enumerate(zip(got, right, strict=True)):
        said = _different(one, other, replace(flavour, near=near), target.suffix)
        if said:
            yield f"frame {number}: {said}" if len(got) > 1 else said
    yield from _said_differently(before, facts(target.read_bytes()), flavour, target.suffix)


def _said_differently(
    before: dict[str, Any], after: dict[str, Any], flavour: Flavour, suffix: str
) -> Iterator[str]:
    """What a result should say and does not, and what it should not and does."""
    if "sizes in pixels" in before:
        before["sizes in pixels"] = tuple(2 * size for size in before["sizes in pixels"])
    if "size in EXIF" in before:
        height, width = flavour.frames[0].shape[:2]
        before["size in EXIF"] = (2 * width, 2 * height)
    for name in sorted(before.keys() - NEVER_SAID.keys() - WITHOUT.get(suffix, set())):
        if before[name] != after.get(name):
            yield f"{name} was {_short(before[name])}, is {_short(after.get(name))}"
    for name, sentence in NEVER_SAID.items():
        if name in after:
            yield sentence
    if flavour.looks and suffix not in WITHOUT_PROFILE:
        shown = in_srgb(np.full((1, 1, 3), PROBE, np.uint8), after.get("profile"))
        off = np.abs(shown[0, 0].astype(int) - np.array(flavour.looks)).max()
        if off > 2:
            yield f"{PROBE} looks like {tuple(shown[0, 0].tolist())}, not {flavour.looks}"
    elif "profile" in after and not before.keys() & {"profile", "code points"}:
        yield "it has a profile that nothing asked for"


def in_srgb(samples: np.ndarray, profile: bytes | None) -> np.ndarray:
    """What 8-bit samples of RGB look like, by LittleCMS."""
    if profile is None:
        return samples
    srgb = ImageCms.createProfile("sRGB")
    shown = ImageCms.profileToProfile(Image.fromarray(samples), io.BytesIO(profile), srgb)
    assert shown is not None
    return np.asarray(shown)


def _different(got: np.ndarray, right: np.ndarray, flavour: Flavour, suffix: str) -> str:
    moving = len(flavour.frames) > 1 and suffix != ".tif"
    mean = LOSSY.get(suffix)
    if suffix == ".avif" and got.dtype != right.dtype:
        return f"{got.dtype} instead of {right.dtype}"
    # the format may know no gray, no 16 bits, and no or always alpha
    if suffix not in EXACT or moving:
        got, right = _same_kind(got), _same_kind(right)
    if suffix == ".gif":
        right = np.dstack((right[..., :3], (right[..., 3:] > 127) * np.uint8(255)))
    if got.shape != right.shape or got.dtype != right.dtype:
        return f"{got.shape} of {got.dtype} instead of {right.shape} of {right.dtype}"
    off = np.abs(got.astype(int) - right.astype(int))
    if got.shape[2] in (2, 4):
        off[..., :-1] *= right[..., -1:] > 0  # nobody sees the colour of what is transparent
    if mean and off.mean() > mean:
        return f"{off.mean():.1f} of 255 off in the mean"
    # bicubic overshoots by a fifth along each axis, and both are rounded
    most = 1.5 * flavour.near + 1 if flavour.near else 0
    return "" if mean or off.max() <= most else f"up to {off.max()} off"


def _same_kind(samples: np.ndarray) -> np.ndarray:
    """RGB and alpha of 8 bits."""
    samples = eight_bits(samples)
    colours = samples.shape[2] - (samples.shape[2] in (2, 4))
    rgb = np.broadcast_to(samples[..., :colours], (*samples.shape[:2], 3))
    full = np.full((*samples.shape[:2], 1), 255, np.uint8)
    return np.dstack((rgb, samples[..., colours:] if colours < samples.shape[2] else full))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"{text[:36]}..."


def outcomes(tried: Sequence[Flavour], folder: Path, format_name: str | None) -> list[str]:
    """What is wrong with each flavour, "" for nothing; a refusal begins with "refused"."""
    sources = [folder / "in" / f"{n:03}{one.suffix}" for n, one in enumerate(tried)]
    (folder / "in").mkdir(exist_ok=True)
    for source, flavour in zip(sources, tried, strict=True):
        source.write_bytes(flavour.data)
    config = batch.BatchConfig(batch.Factor(2), format_name=format_name, template="{stem}")
    plan = batch.plan([*map(str, sources)], str(folder / (format_name or "same")), config)
    results = {result.source: result for result in batch.run(plan, Bicubic())}
    found = []
    for source, flavour in zip(sources, tried, strict=True):
        result = results[source]
        if result.target is None or result.outcome is not batch.Outcome.DONE:
            found.append(f"refused: {result.message.removeprefix(f'{source}: ')}")
        else:
            found.append("; ".join(differences(flavour, Path(result.target))))
    return found


def table(tried: Sequence[Flavour], folder: Path) -> list[tuple[Flavour, dict[str, str]]]:
    """Each flavour, with what is wrong in each format that it was written in."""
    found: list[tuple[Flavour, dict[str, str]]] = [(flavour, {}) for flavour in tried]
    for name in (None, *dict.fromkeys(other for flavour in tried for other in flavour.others)):
        rows = [row for row in found if (row[0].own if name is None else name in row[0].others)]
        said = outcomes([flavour for flavour, _ in rows], folder, name)
        for (_, row), one in zip(rows, said, strict=True):
            row[name or "its own"] = one
    return found


def main() -> int:
    """Try them and print a table."""
    parser = argparse.ArgumentParser(description="Every flavour of picture file.")
    parser.add_argument("--only", default="", help="flavours whose names begin so")
    asked = parser.parse_args()
    tried = [flavour for flavour in flavours() if flavour.name.startswith(asked.only)]
    if not tried:
        parser.error(f"no flavour begins with {asked.only!r}")
    with tempfile.TemporaryDirectory() as folder:
        rows = table(tried, Path(folder))
    print("| flavour | written as | what is wrong |\n|---|---|---|")
    for flavour, row in rows:
        wrong = "; ".join(f"as {name}: {said}" for name, said in row.items() if said)
        print(f"| {flavour.name} | {', '.join(row)} | {wrong or 'nothing'} |")
    said = [one for _, row in rows for one in row.values()]
    refused = sum(one.startswith("refused") for one in said)
    silent = sum(bool(one) for one in said) - refused
    print(
        f"{len(rows)} flavours, {len(said)} conversions, {refused} refused, "
        f"{silent} silent differences"
    )
    return 1 if refused or silent else 0


if __name__ == "__main__":
    sys.exit(main())
