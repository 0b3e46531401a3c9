"""Enlarging a clip: decoding, the network and encoding side by side, in bounded memory."""

import hashlib
import itertools
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from atdsr.base import files, units
from atdsr.base.reporter import Reporter
from atdsr.inference import UpscaleError, Upscaler
from atdsr.inference.onnx_network import OnnxNetwork
from atdsr.video import colour, encoders, muxing
from atdsr.video.channels import Channel, emptied, filled
from atdsr.video.config import VideoConfig, VideoError
from atdsr.video.encoders import Encoding
from atdsr.video.reading import Clip, ClipDamage, ClipFrame, read_frames
from atdsr.video.segments import Parts, SegmentEncoder

_WAITING = 3  # frames that wait between two threads
_GPU_BATCH, _GPU_BATCH_PIXELS = 4, 512 * 512
_RECENT = 20.0  # seconds over which the speed is averaged
_HEAD = 2**20  # bytes of a clip that tell whether it is the same file


@dataclass(frozen=True)
class ClipJob:
    """A clip, and what is to become of it.

    Attributes:
        clip: The clip.
        target: The file to write.
        container: One of `config.CONTAINERS`.
        config: How clips are read and encoded.
        encoding: How this one is encoded.
        copied: Which other streams are copied.
        upscaler: The network.
        overwrite: Whether an existing output may be replaced.
    """

    clip: Clip
    target: Path
    container: str
    config: VideoConfig
    encoding: Encoding
    copied: muxing.Copied
    upscaler: Upscaler
    overwrite: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result."""
        return self.encoding.width, self.encoding.height

    @property
    def side_by_side(self) -> int:
        """How many frames the network gets at a time."""
        small = self.clip.width * self.clip.height <= _GPU_BATCH_PIXELS
        return _GPU_BATCH if small and self.upscaler.device.type != "cpu" else 1

    @property
    def frames(self) -> int:
        """About how many frames are enlarged."""
        clip, config = self.clip, self.config
        begin = config.start or 0
        end = clip.duration if config.end is None else min(config.end, clip.duration)
        known = clip.frames
        if config.start is not None or config.end is not None:
            known = max(1, round((end - begin) * clip.rate)) if clip.duration else known
        return known if config.frames is None else min(known, config.frames)

    def identity(self) -> dict[str, Any]:
        """Return all that the frames of the result depend on, as plain JSON."""
        status = self.clip.path.stat()
        with files.open_regular(self.clip.path) as file:
            head = hashlib.sha256(file.read(_HEAD)).hexdigest()
        wanted = asdict(replace(self.config, threads=0))  # decoding is the same with any number
        return {
            "source": [status.st_size, status.st_mtime_ns, head],
            "wanted": {name: str(value) for name, value in wanted.items()},
            "network": network_identity(self.upscaler),
            "encoding": self.encoding.record(),
        }


def network_identity(upscaler: Upscaler) -> str:
    """Return a text that differs between networks, and between ways to run them."""
    digest = hashlib.sha256(str(upscaler.config).encode())
    if upscaler.restorer is not None:
        digest.update(network_identity(upscaler.restorer).encode())
    model = upscaler.model
    if isinstance(model, OnnxNetwork):
        digest.update(files.sha256(model.path).encode())
    else:
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def enlarge_frame(frame: ClipFrame, job: ClipJob, reporter: Reporter) -> list[np.ndarray]:
    """Return the planes of an enlarged frame.

    Raises:
        VideoError: The network refuses it.
    """
    return _enlarge([frame], job, reporter)[0]


def _enlarge(frames: list[ClipFrame], job: ClipJob, reporter: Reporter) -> list[list[np.ndarray]]:
    """Return the planes of each frame, enlarged side by side."""
    clip, encoding = job.clip, job.encoding
    images: list[Tensor] = []
    for frame in frames:
        image = colour.to_rgb(frame.planes, clip.pixels, clip.colour)
        images.append(image if encoding.pixels.alpha else image[:, : clip.pixels.colour_planes])
    try:
        enlarged = job.upscaler.batch(
            images, size=job.size, progress=reporter.progress, tell=reporter.notice
        )
    except UpscaleError as error:
        raise VideoError(f"{clip.path}: {error}") from None
    return [colour.from_rgb(image, encoding.pixels, encoding.colour) for image in enlarged]


def run(job: ClipJob, reporter: Reporter) -> int:
    """Enlarge a clip, from where an interrupted command has stopped, and write the result.

    Args:
        job: The clip, and what is to become of it.
        reporter: Is told how far it is, and what is worth knowing.

    Returns:
        The number of frames.

    Raises:
        VideoError: It cannot be read, enlarged or written.
    """
    job.encoding.check()
    parts = Parts(job.target, job.identity())
    try:
        for sentence in (*job.copied.lost, *encoders.notices(job.clip, job.encoding)):
            reporter.notice(sentence)
        if parts.is_new_start:
            reporter.notice(
                "what was there of an interrupted command was made otherwise, or of another file; "
                "it begins anew."
            )
        elif parts.frames:
            reporter.notice(f"goes on after {parts.frames} frames.")
        if not parts.is_complete:
            _make_segments(job, parts, reporter)
        if not parts.segments:
            raise VideoError(f"{job.clip.path} has no frame in the part that is wanted.")
        with files.atomic_write(job.target, overwrite=job.overwrite) as temporary:
            lost = muxing.remux(
                job.clip, job.config, job.encoding, parts, job.copied, temporary, job.container
            )
    except BaseException:
        if not parts.segments:
            parts.remove()
        raise
    for sentence in (*lost, parts.damage.sentence, _repeats(parts)):
        if sentence:
            reporter.notice(sentence)
    frames = parts.frames
    parts.remove()
    return frames


def _repeats(parts: Parts) -> str:
    count = sum(segment.repeats for segment in parts.segments)
    if not count:
        return ""
    return f"{count} of {parts.frames} frames equal the one before and were not computed again."


@dataclass(frozen=True, eq=False)
class _Enlarged:
    """An enlarged frame on its way to the encoder."""

    frame: ClipFrame
    planes: list[np.ndarray]
    is_repeat: bool


def _make_segments(job: ClipJob, parts: Parts, reporter: Reporter) -> None:
    """Make the segments that are missing.

    Three threads work side by side: one decodes, one encodes, and this one, which Ctrl-C reaches,
    runs the network.

    Raises:
        VideoError: As `run`.
    """
    damage = ClipDamage()
    decoded: Channel[ClipFrame] = Channel(_WAITING)
    enlarged: Channel[_Enlarged] = Channel(_WAITING)
    encoder = SegmentEncoder(parts, job.encoding)

    def decode() -> None:
        for frame in read_frames(job.clip, job.config, damage, skip=parts.frames):
            decoded.put(frame)

    def encode() -> None:
        try:
            for each in enlarged:
                encoder.add(each.frame, each.planes, is_repeat=each.is_repeat)
            encoder.finish()
        finally:
            encoder.abandon()

    with filled(decoded, decode, "decoder"), emptied(enlarged, encode, "encoder"):
        for each in _enlarged_frames(iter(decoded), job, _Progress(job, parts.frames, reporter)):
            enlarged.put(each)
    parts.complete(damage)


def _enlarged_frames(
    decoded: Iterator[ClipFrame], job: ClipJob, progress: "_Progress"
) -> Iterator[_Enlarged]:
    """Enlarge frames, side by side on a GPU, and those not again that equal the one before.

    The first frame of each segment is always computed, so that the result does not depend on where
    a command was interrupted.
    """
    previous: ClipFrame | None = None
    planes: list[np.ndarray] = []
    while frames := list(itertools.islice(decoded, job.side_by_side)):
        repeats = [
            frame.number % encoders.SEGMENT_FRAMES > 0 and frame.equals(before)
            for frame, before in zip(frames, [previous, *frames], strict=False)
        ]
        new = [frame for frame, is_repeat in zip(frames, repeats, strict=True) if not is_repeat]
        results = iter(_enlarge(new, job, progress.of_next(len(frames))) if new else ())
        for frame, is_repeat in zip(frames, repeats, strict=True):
            planes = planes if is_repeat else next(results)
            yield _Enlarged(frame, planes, is_repeat)
            progress.add_frame()
        previous = frames[-1]


class _Progress:
    """Tells how many frames are done, and how many there are in a second."""

    def __init__(self, job: ClipJob, done: int, reporter: Reporter) -> None:
        self._total, self._done = job.frames, done
        self._reporter = reporter
        self._times = deque([time.monotonic()])

    def of_next(self, frames: int) -> Reporter:
        """Return a reporter for the next frames."""
        start, stop = (min(1, n / self._total) for n in (self._done, self._done + frames))
        return self._reporter.part(start, stop)

    def add_frame(self) -> None:
        """Count a frame."""
        self._done += 1
        self._times.append(time.monotonic())
        while len(self._times) > 2 and self._times[-1] - self._times[0] > _RECENT:
            self._times.popleft()
        speed = (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-6)
        self._reporter.progress(min(1, self._done / self._total))
        self._reporter.detail(f"{units.significant(speed, 3)} frames/s")
