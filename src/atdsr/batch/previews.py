"""Previews: a crop of each picture, by bicubic and by the network, before hours are spent."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from atdsr import imaging
from atdsr.base import interrupts
from atdsr.base.reporter import SILENT, Reporter
from atdsr.batch.config import BatchError, enlargement
from atdsr.batch.naming import PREVIEW
from atdsr.batch.networks import Networks
from atdsr.batch.planning import BatchItem, LocalItem, Plan
from atdsr.batch.running import Result, check_kept, checked_size, open_checked, run_each
from atdsr.imaging import Picture, PictureError, montage, resample
from atdsr.inference import UpscaleError, Upscaler

SIDE = 256
"""Sides of the crop in pixels of the input; a smaller picture is taken as it is."""


def run_previews(
    plan: Plan,
    upscaler: Upscaler | Networks,
    reporter_for: Callable[[BatchItem], Reporter] = lambda _: SILENT,
) -> Iterator[Result]:
    """Write a comparison for each picture of a plan instead of its result.

    The comparison of `a_x2.jpg` is `a_x2_preview.png`: the middle of the picture, enlarged by
    bicubic on the left and by the network on the right. Of several frames the first one is taken.

    Args:
        plan: As for `run`.
        upscaler: As for `run`.
        reporter_for: As for `run`.

    Yields:
        What became of each comparison, as `run` does.
    """
    items = tuple(
        replace(item, target=item.target.with_name(f"{item.target.stem}{PREVIEW}.png"))
        for item in plan.items
    )
    return run_each(_write_preview, replace(plan, items=items), upscaler, reporter_for)


def _write_preview(
    item: LocalItem, plan: Plan, networks: Networks, reporter: Reporter
) -> tuple[int, int, int]:
    """Write the comparison for one picture; return its width and height, and 1 for its frames."""
    config = plan.config
    if (clips := config.clips_for(item.source)) is not None:
        check_kept(item, plan)
        picture = clips.picture(item.source)
        to_width, to_height = checked_size(item.source, picture.width, picture.height, config)
    else:
        frames, to_width, to_height = open_checked(item, plan)
        with interrupts.deferred():
            picture = next(iter(frames))
    crop = _middle(picture.samples)
    height, width = crop.shape[:2]
    size = (
        max(1, round(width * to_width / picture.width)),
        max(1, round(height * to_height / picture.height)),
    )
    upscaler = networks.for_factor(enlargement(width, height, *size))
    try:
        enlarged = upscaler(crop, size=size, progress=reporter.progress, tell=reporter.notice)
    except (UpscaleError, PictureError) as error:
        raise BatchError(f"{item.source}: {error}") from None
    bicubic = resample.resize(crop, size[1], size[0])
    sheet = montage.framed(
        montage.beside(
            [
                montage.captioned(_image(bicubic), "bicubic"),
                montage.captioned(_image(np.asarray(enlarged)), _title(networks, upscaler)),
            ]
        )
    )
    profile = None if picture.is_gray else picture.icc  # the sheet is RGB
    made = Picture(np.asarray(sheet), profile, code_points=picture.code_points)
    with interrupts.deferred():
        imaging.write(made, item.target, overwrite=config.overwrite)
    return made.width, made.height, 1


def _title(networks: Networks, upscaler: Upscaler) -> str:
    return networks.models[upscaler.scale] or "network"


def _middle(samples: np.ndarray) -> np.ndarray:
    """Return the middle of samples `h w c`, at most `SIDE` pixels wide and high, without alpha."""
    height, width = samples.shape[:2]
    top, left = max(0, height - SIDE) // 2, max(0, width - SIDE) // 2
    colours = imaging.visible_colours(samples)
    return np.ascontiguousarray(colours[top : top + SIDE, left : left + SIDE])


def _image(samples: np.ndarray) -> Image.Image:
    """Return gray or RGB samples as an RGB image of 8 bits."""
    samples = imaging.to_uint8(samples)
    return Image.fromarray(samples.repeat(3, axis=2) if samples.shape[2] == 1 else samples)
