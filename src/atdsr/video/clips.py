"""Clips among the inputs of `atdsr upscale`: `batch.clips.Clips`, as this package does it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from atdsr import imaging
from atdsr.base.errors import missing
from atdsr.base.reporter import SILENT, Reporter
from atdsr.base.stores import Location
from atdsr.batch.config import TargetBox, enlargement
from atdsr.batch.forecasts import Forecast
from atdsr.batch.networks import Networks
from atdsr.batch.planning import LocalItem, Plan
from atdsr.batch.running import Outcome, check_kept, checked_size, claimed_output
from atdsr.imaging import CodePoints, Picture
from atdsr.video import colour, encoders, muxing, running
from atdsr.video.config import (
    CONTAINERS,
    VideoConfig,
    VideoError,
    begins_like_clip,
    container_for,
    is_clip_name,
)
from atdsr.video.reading import Clip, ClipDamage, frame_near, probe, read_frames

_PATIENCE = 3.0  # seconds of a frame that is timed only once


@dataclass(frozen=True)
class ClipFiles:
    """Recognises clips among the inputs of a batch, and enlarges them.

    Attributes:
        config: How clips are read and encoded.
    """

    config: VideoConfig

    @property
    def formats(self) -> Mapping[str, str]:
        """The containers that are written, each with its suffix."""
        return CONTAINERS

    @property
    def is_installed(self) -> bool:
        """Whether PyAV is there."""
        return find_spec("av") is not None

    def is_clip(self, source: Location) -> bool:
        """Return whether a file is a clip, as far as its name and its first bytes tell."""
        if not isinstance(source, Path) or not is_clip_name(source):
            return False
        try:
            with source.open("rb") as file:
                return begins_like_clip(source, file.read(8))
        except OSError:  # it is missing, which is said when its turn comes
            return True

    def suffix(self, source: Location, format_name: str | None) -> str:
        """Return the suffix of a clip's output, in the container asked for if there is one."""
        return CONTAINERS[container_for(source, format_name)]

    def size(self, source: Path) -> tuple[int, int]:
        """Return width and height of a clip in pixels."""
        clip = _probed(source)
        return clip.width, clip.height

    def make(
        self, item: LocalItem, plan: Plan, networks: Networks, reporter: Reporter
    ) -> tuple[int, int, int]:
        """Enlarge a clip; return width, height and number of frames of the result."""
        job = self._job(item, plan, networks)
        with claimed_output(item, plan):
            frames = running.run(job, reporter)
        return *job.size, frames

    def forecast(self, item: LocalItem, plan: Plan, networks: Networks) -> Forecast:
        """Tell what `make` would do, and how long it would take, by the time of one frame."""
        job = self._job(item, plan, networks)
        job.encoding.check()
        clip = job.clip
        frame = next(iter(read_frames(clip, self.config, ClipDamage())), None)
        if frame is None:
            raise VideoError(f"{clip.path} has no frame in the part that is wanted.")
        seconds = 0.0
        for _ in range(2):  # the first time, memory is set up and kernels are loaded
            if seconds < _PATIENCE:
                start = time.perf_counter()
                running.enlarge_frame(frame, job, SILENT)
                seconds = time.perf_counter() - start
        return Forecast(
            str(item.source),
            str(item.target),
            Outcome.DONE,
            f"{item.source} -> {item.target}",
            (clip.width, clip.height),
            job.size,
            job.frames,
            networks.models[job.upscaler.scale],
            job.upscaler.workload(clip.width, clip.height, job.size),
            seconds * job.frames,
            networks.restorer or None,
        )

    def work(self, item: LocalItem, plan: Plan, networks: Networks) -> float:
        """Return how many pixels the network would be given."""
        job = self._job(item, plan, networks)
        return job.frames * float(job.clip.width * job.clip.height)

    def picture(self, source: Path) -> Picture:
        """Return a frame for a preview: the first that is wanted, or one a third into the clip."""
        clip = _probed(source)
        image = colour.to_rgb(frame_near(clip, self.config).planes, clip.pixels, clip.colour)
        depth = np.dtype(np.uint8 if clip.pixels.bits == 8 else np.uint16)
        samples = imaging.to_array(image[:, : clip.pixels.colour_planes], depth)
        points = CodePoints(clip.tags.primaries, clip.tags.transfer)
        is_tagged = colour.UNSPECIFIED not in (points.primaries, points.transfer)
        return Picture(samples, code_points=points if is_tagged else None)

    def _job(self, item: LocalItem, plan: Plan, networks: Networks) -> running.ClipJob:
        """Return what is to become of a clip, after all that can be checked before."""
        check_kept(item, plan)
        clip = _probed(item.source)
        if clip.is_interlaced and not self.config.deinterlace:
            raise VideoError(
                f"{clip.path} is interlaced, and the network takes whole frames; add --deinterlace."
            )
        size = _result_size(clip, plan)
        encoding = encoders.choose(clip, size, self.config)
        container = plan.config.format_of(item.target)
        muxing.check_codec(encoding, container, clip)
        copied = muxing.plan_streams(clip, container)
        upscaler = networks.for_factor(enlargement(clip.width, clip.height, *size))
        return running.ClipJob(
            clip,
            item.target,
            container,
            self.config,
            encoding,
            copied,
            upscaler,
            plan.config.overwrite,
        )


def _probed(source: Path) -> Clip:
    if not source.exists():
        raise VideoError(missing(source))
    return probe(source)


def _result_size(clip: Clip, plan: Plan) -> tuple[int, int]:
    """Return width and height of a frame of the result; a box is meant as players show the clip."""
    if clip.is_sideways and isinstance(plan.config.size, TargetBox):
        height, width = checked_size(clip.path, clip.height, clip.width, plan.config)
        return width, height
    return checked_size(clip.path, clip.width, clip.height, plan.config)
