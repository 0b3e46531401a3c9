"""Every flavour of picture file that docs/pictures.md promises, through everything but the network.

    python benchmarks/flavours.py
    python benchmarks/flavours.py --only "TIFF gray"    # names that begin so
    python benchmarks/flavours.py --all                 # also what is known to be wrong

Each file is read, enlarged to twice its size and written, in its own format and as PNG, by what
`atdsr upscale` runs, but bicubic stands in the place of the network, so that the right samples are
known. What is written is compared with them, and what it says of itself with what the input said,
by readers that are not those of atdsr: Pillow, and few lines for PNG and TIFF of 16 bits. A
difference without a sentence is a silent one. Exit code 1 if there is any, or a refusal.
"""

import argparse
import io
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageSequence, UnidentifiedImageError

from atdsr import jobs, resample
from atdsr.inference import Engine, Progress, Source, Tell
from atdsr.upscale import Upscaler
from flavour_corpus import Flavour, flavours, waiting

LOSSY = {".jpg": 1.5, ".avif": 1.5}
"""How far the mean over a result may be from the right samples, of 255."""


# ----------------------------------------------------------------------- bicubic for the network


class _Resampling(Engine):
    """What gives bicubic where the network is expected, rounded to 16 bits."""

    def __init__(self) -> None:
        pass

    def parts(
        self, source: Source, progress: Progress, tell: Tell
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """All rows at once."""
        small = source.read(slice(None), slice(None)).double().numpy()
        wide = np.rint(small * 65535).astype(np.uint16)
        made = [resample.upscale(one.transpose(1, 2, 0), 2).transpose(2, 0, 1) for one in wide]
        progress(1.0)
        yield 0, torch.from_numpy(np.stack(made).astype(np.float64) / 65535)


class Bicubic(Upscaler):
    """An upscaler of scale 2 without a network."""

    def __init__(self) -> None:
        self.engine, self.scale = _Resampling(), 2


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


# --------------------------------------------------------------------------- independent readers


def read(path: Path) -> list[np.ndarray]:
    """The frames of a file, h w c, upright, by readers other than atdsr's.

    Raises:
        ValueError: it is of no kind that atdsr writes.
    """
    data = path.read_bytes()
    if path.suffix == ".tif":
        return list(read_tiff(data))
    with Image.open(io.BytesIO(data)) as opened:
        if path.suffix == ".png" and getattr(opened, "n_frames", 1) == 1:
            return [read_png(data)]
        frames = [frame.copy() for frame in ImageSequence.Iterator(opened)]
    arrays = []
    for frame in frames:
        frame = (
            frame.convert("RGBA" if frame.has_transparency_data else "RGB")
            if frame.mode == "P"
            else frame
        )
        array = np.asarray(frame)
        arrays.append(array.reshape(*array.shape[:2], -1))
    return arrays


def read_png(data: bytes) -> np.ndarray:
    """The samples of a PNG file of 8 or 16 bits without palette."""
    width, height, bits, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if interlaced or kind == 3:
        raise ValueError("atdsr writes neither interlaced PNG nor palettes")
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    step = channels * bits // 8
    body = zlib.decompress(b"".join(c for name, c in png_chunks(data) if name == b"IDAT"))
    rows = np.frombuffer(body, np.uint8).reshape(height, 1 + width * step).astype(int)
    above = np.zeros(step * (width + 1), int)
    made = np.zeros((height, width * step), np.uint8)
    for number, (method, *row) in enumerate(rows):
        line = np.zeros(step * (width + 1), int)
        for at, value in enumerate(row, step):
            left, up, corner = line[at - step], above[at], above[at - step]
            line[at] = (value + _predicted(method, left, up, corner)) % 256
        made[number], above = line[step:], line
    return made.view(f">u{bits // 8}").reshape(height, width, channels).astype(f"u{bits // 8}")


def _predicted(method: int, left: int, up: int, corner: int) -> int:
    if method == 4:  # Paeth's
        guess = left + up - corner
        return min((left, up, corner), key=lambda value: abs(guess - value))
    return (0, left, up, (left + up) // 2)[method]


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG file: name and content."""
    at = 8
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        yield name, data[at + 8 : at + 8 + size]
        at += 12 + size


def read_tiff(data: bytes) -> Iterator[np.ndarray]:
    """The pages of a TIFF file as atdsr writes it: strips, deflate, differences along rows."""
    (at,) = struct.unpack_from("<I", data, 4)
    while at:
        (count,) = struct.unpack_from("<H", data, at)
        tags: dict[int, tuple[int, ...]] = {}
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, many = struct.unpack_from("<HHI", data, entry)
            size = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}.get(kind, 0)
            place = entry + 8 if size * many <= 4 else struct.unpack_from("<I", data, entry + 8)[0]
            if size:
                letter = {1: "B", 2: "H", 4: "I"}[size]
                tags[tag] = struct.unpack_from(f"<{many}{letter}", data, place)
        yield _page(data, tags)
        (at,) = struct.unpack_from("<I", data, at + 2 + 12 * count)


def _page(data: bytes, tags: dict[int, tuple[int, ...]]) -> np.ndarray:
    (width,), (height,), (channels,) = tags[256], tags[257], tags.get(277, (1,))
    if tags[259] != (8,) or tags.get(274, (1,)) != (1,) or 273 not in tags:
        raise ValueError("atdsr writes upright strips of deflate")
    strips = zip(tags[273], tags[279], strict=True)
    raw = b"".join(zlib.decompress(data[place : place + size]) for place, size in strips)
    dtype = f"<u{tags[258][0] // 8}"
    samples = np.frombuffer(raw, dtype).reshape(height, width, channels)
    if tags.get(317) == (2,):
        samples = samples.cumsum(axis=1, dtype=dtype)
    return samples.astype(dtype[1:])


def facts(data: bytes) -> dict[str, Any]:
    """What a file says beside its samples, by Pillow; nothing where Pillow cannot open it."""
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        return {}
    with image as opened:
        info, exif = opened.info, opened.getexif()
        dots = (info.get("dpi") or (exif.get(282),))[0]
        xmp = info.get("xmp") or b""
        said = {
            "profile": info.get("icc_profile"),
            "author": exif.get(315),
            "taken": exif.get_ifd(0x8769).get(0x9003),
            "creator": b'creator="Somebody"' in (xmp.encode() if isinstance(xmp, str) else xmp),
            "dots": dots and round(float(dots)),
            "text": info.get("Author"),
            "parameters": info.get("parameters"),
            "turned": exif.get(274, 1) != 1,
            "durations": [f.info.get("duration") for f in ImageSequence.Iterator(opened)],
        }
    if data[1:4] == b"PNG":
        said["code points"] = dict(png_chunks(data)).get(b"cICP")
    if len(said["durations"]) == 1 or None in said["durations"]:
        said["durations"] = None
    said["dots"] = None if said["dots"] in (1, 25, 72) else said["dots"]
    return {name: value for name, value in said.items() if value}


# -------------------------------------------------------------------------------- the comparison


def differences(flavour: Flavour, target: Path) -> Iterator[str]:
    """What is wrong with what became of a file, in words."""
    got, right = read(target), [enlarged(frame) for frame in flavour.frames]
    if len(got) != len(right):
        yield f"{len(got)} frames instead of {len(right)}"
        return
    for number, (one, other) in enumerate(zip(got, right, strict=True)):
        said = _different(one, other, flavour, target.suffix)
        if said:
            yield f"frame {number}: {said}" if len(got) > 1 else said
    before, after = facts(flavour.data), facts(target.read_bytes())
    for name in sorted(before.keys() - {"turned"}):
        if before[name] != after.get(name):
            yield f"{name} was {_short(before[name])}, is {_short(after.get(name))}"
    if "turned" in after:
        yield "it is said to lie turned"


def _different(got: np.ndarray, right: np.ndarray, flavour: Flavour, suffix: str) -> str:
    exact = suffix in (".png", ".tif")
    moving = len(flavour.frames) > 1 and suffix != ".tif"
    if not exact or moving:  # the format may know no gray, no 16 bits, and no or always alpha
        got, right = _same_kind(got), _same_kind(right)
    if got.shape != right.shape or got.dtype != right.dtype:
        return f"{got.shape} of {got.dtype} instead of {right.shape} of {right.dtype}"
    off = np.abs(got.astype(int) - right.astype(int))
    if got.shape[2] in (2, 4):
        off[..., :-1] *= right[..., -1:] > 0  # nobody sees the colour of what is transparent
    if suffix in LOSSY and off.mean() > LOSSY[suffix]:
        return f"{off.mean():.1f} of 255 off in the mean"
    # bicubic overshoots by a fifth along each axis
    if suffix not in LOSSY and off.max() > 1.5 * flavour.near:
        return f"up to {off.max()} off"
    return ""


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
    sources[0].parent.mkdir(exist_ok=True)
    for source, flavour in zip(sources, tried, strict=True):
        source.write_bytes(flavour.data)
    order = jobs.Order(jobs.Times(2), format_name=format_name, template="{stem}")
    plan = jobs.plan([*map(str, sources)], str(folder / (format_name or "same")), order)
    results = {result.source: result for result in jobs.run(plan, Bicubic())}
    found = []
    for source, flavour in zip(sources, tried, strict=True):
        result = results[source]
        if result.target is None or result.outcome is not jobs.Outcome.DONE:
            found.append(f"refused: {result.message.removeprefix(f'{source}: ')}")
        else:
            found.append("; ".join(differences(flavour, result.target)))
    return found


def main() -> int:
    """Try them and print a table."""
    parser = argparse.ArgumentParser(description="Every flavour of picture file.")
    parser.add_argument("--only", default="", help="flavours whose names begin so")
    parser.add_argument("--all", action="store_true", help="also what is known to be wrong")
    asked = parser.parse_args()
    tried = [*flavours(), *(waiting() if asked.all else ())]
    tried = [flavour for flavour in tried if flavour.name.startswith(asked.only)]
    if not tried:
        parser.error(f"no flavour begins with {asked.only!r}")
    with tempfile.TemporaryDirectory() as folder:
        same = outcomes(tried, Path(folder), None)
        as_png = [
            "" if len(flavour.frames) > 1 and flavour.suffix == ".tif" else said
            for flavour, said in zip(tried, outcomes(tried, Path(folder), "png"), strict=True)
        ]
    print("| flavour | in its own format | as PNG |\n|---|---|---|")
    for flavour, one, other in zip(tried, same, as_png, strict=True):
        print(f"| {flavour.name} | {one or 'ok'} | {other or 'ok'} |")
    kinds = Counter(
        "refused" if said.startswith("refused") else "silent" for said in same + as_png if said
    )
    if kinds["refused"]:
        print(f"{kinds['refused']} refused", end=", ")
    print(f"{len(tried)} flavours, {kinds['silent']} silent differences")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
