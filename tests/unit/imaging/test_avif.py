"""AVIF beside libavif as Pillow and imagecodecs have it."""

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

import avif_files
from atdsr.imaging import (
    CodePoints,
    Picture,
    PictureError,
    open_frames,
    read,
    write,
    write_frames,
)
from atdsr.imaging.codecs.isobmff import items
from helpers.pictures import SRGB, noise, smooth


def kept(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.avif"
    path.write_bytes(data)
    return path


def seen(data: bytes) -> np.ndarray:
    samples = np.array(Image.open(io.BytesIO(data)))
    return samples.reshape(*samples.shape[:2], -1)


def deep(samples: np.ndarray, level: int = 100) -> bytes:
    """A file of 10 bits."""
    settings = {"bitspersample": 10, "pixelformat": "444", "matrix": 6, "speed": 9}
    return bytes(imagecodecs.avif_encode(samples, level=level, **settings))


# Stills


@pytest.mark.parametrize("limits", ["full", "limited"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:0:0"])
def test_range_and_subsampling_are_undone(tmp_path, limits, subsampling):
    samples = smooth(3) if subsampling != "4:0:0" else smooth(1).repeat(3, 2)
    data = avif_files.encoded(samples, range=limits, subsampling=subsampling)
    back = read(kept(tmp_path, data)).samples
    assert np.array_equal(back, seen(data))
    assert np.abs(back.astype(int) - samples).max() < 12
    assert back.shape[2] == (1 if subsampling == "4:0:0" else 3)


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("matrix", [0, 1, 6, 9])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [10, 12])
def test_more_bits_keep_their_levels(tmp_path, bits, channels, matrix, limited):
    white = 2**bits - 1
    y, x = np.mgrid[0:40, 0:56]
    samples = np.stack([(0.2 + 0.4 * (y * 56 + x) / 2240 + k / 20) for k in range(channels)], 2)
    samples = np.rint(white * samples).astype(np.uint16)
    data = imagecodecs.avif_encode(
        samples[..., 0] if channels == 1 else samples,
        level=100,
        speed=9,
        bitspersample=bits,
        pixelformat="400" if channels < 3 else "444",
        matrix=matrix if channels > 2 else 6,
    )
    data = avif_files.described(bytes(data), 1, 13, full=not limited)
    back = read(kept(tmp_path, data)).samples
    assert back.dtype == np.uint16
    wanted = imagecodecs.avif_decode(data).reshape(samples.shape)
    levels = np.rint(back / 65535 * white).astype(int)
    assert np.abs(levels - wanted.astype(int)).max() <= 2
    assert limited or channels == 2 or len(np.unique(back[..., 0])) > 300


@pytest.mark.parametrize("bits", [8, 10])
def test_premultiplied_alpha_is_divided(tmp_path, bits):
    if bits == 8:
        samples = np.full((16, 16, 4), (200, 100, 50, 128), np.uint8)
        data = avif_files.encoded(samples, alpha_premultiplied=True)
        assert np.abs(read(kept(tmp_path, data)).samples.astype(int) - samples).max() <= 1
        return
    mixed = np.full((16, 16, 4), (400, 200, 100, 512), np.uint16)
    data = deep(mixed)
    assert data.count(b"auxl") == 1
    at = data.find(b"iref") - 4
    (size,) = struct.unpack_from(">I", data, at)
    plain = read(kept(tmp_path, data)).samples
    # the reference becomes the other kind, from the colours to alpha; libavif needs both, so add it
    added = avif_files.box(b"prem", struct.pack(">HHH", 1, 1, 2))
    data = grown(data, at + size, added, (b"iref", b"meta"))
    back = read(kept(tmp_path, data)).samples / 65535 * 1023
    assert np.abs(plain / 65535 * 1023 - mixed).max() <= 2
    assert np.abs(back[..., :3] - mixed[..., :3] * (1023 / 512)).max() <= 4
    assert np.abs(back[..., 3] - 512).max() < 1


def grown(data: bytes, at: int, added: bytes, kinds: tuple[bytes, ...]) -> bytes:
    """A file with bytes put in before its media data."""
    changed = bytearray(data)
    for kind in kinds:
        place = data.find(kind) - 4
        struct.pack_into(
            ">I", changed, place, struct.unpack_from(">I", data, place)[0] + len(added)
        )
    iloc = data.find(b"iloc")
    (count,) = struct.unpack_from(">H", data, iloc + 10)
    for k in range(count):
        place = iloc + 12 + 14 * k + 6
        struct.pack_into(
            ">I", changed, place, struct.unpack_from(">I", data, place)[0] + len(added)
        )
    changed[at:at] = added
    return bytes(changed)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_grid_is_one_picture(tmp_path, hidden):
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], (64, 1, 3))
    av1c, first = avif_files.cell(ramp)
    _, second = avif_files.cell(ramp[:, ::-1].copy())
    data = avif_files.grid(av1c, (first, second), hidden=hidden)
    frames = open_frames(kept(tmp_path, data))
    assert (len(frames), frames.width, frames.height) == (1, 128, 64)
    wanted = np.concatenate((ramp, ramp[:, ::-1]), axis=1).astype(int)
    assert np.abs(read(tmp_path / "x.avif").samples - wanted).max() <= 2


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("damage", ["zeroed", "noise", "cut"])
def test_a_cell_that_cannot_be_decoded_is_an_error(tmp_path, damage, bits):
    if bits == 8:
        av1c, data = avif_files.cell(noise(3, h=64, w=64))
    else:
        high = noise(3, np.uint16, h=64, w=64) >> 6
        file = deep(high, level=90)
        at, media = file.find(b"av1C") - 4, file.find(b"mdat")
        av1c = file[at : at + struct.unpack_from(">I", file, at)[0]]
        data = file[media + 4 :]
    whole = avif_files.grid(av1c, (data, data), bits=bits)
    assert read(kept(tmp_path, whole)).samples.shape == (64, 128, 3)
    bad = bytes(len(data)) if damage == "zeroed" else noise(1, h=1, w=len(data)).tobytes()
    cut = whole[: -len(data) // 2]
    damaged = cut if damage == "cut" else avif_files.grid(av1c, (data, bad), bits=bits)
    with pytest.raises(PictureError, match=r"x\.avif: "):
        read(kept(tmp_path, damaged))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 10])
def test_orientation_is_applied_once(tmp_path, bits, orientation):
    """Pillow writes it as `irot` and `imir`, beside which that of EXIF says nothing."""
    exif = Image.Exif()
    exif[0x112] = orientation
    upright = smooth(3)
    turned = {1: 1, 6: 8, 8: 6}.get(orientation, orientation)
    image = Image.fromarray(upright)
    methods = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    if turned in methods:
        image = image.transpose(Image.Transpose(methods[turned]))
    data = avif_files.encoded(np.array(image), exif=exif)
    if bits == 10:
        finer = np.array(image).astype(np.uint16) * 4
        data = with_payload(data, deep(finer))
    frames = open_frames(kept(tmp_path, data))
    back = read(tmp_path / "x.avif")
    assert (frames.width, frames.height) == (back.width, back.height) == (56, 40)
    white = 1020 / 1023 * 65535 if bits == 10 else 255
    assert np.abs(back.samples / white * 255 - upright).max() < 6
    write(back, tmp_path / "again.avif")
    assert read(tmp_path / "again.avif").samples.shape == upright.shape


def with_payload(data: bytes, other: bytes) -> bytes:
    """A file with the AV1 data and `av1C` of another one of the same size."""
    at, theirs = data.find(b"av1C"), other.find(b"av1C")
    payload = other[other.find(b"mdat") + 4 :]
    media = data.find(b"mdat") - 4
    changed = bytearray(data[:media] + avif_files.box(b"mdat", payload))
    changed[at : at + 8] = other[theirs : theirs + 8]
    place = data.find(b"pixi") + 9
    changed[place : place + 3] = bytes([10, 10, 10])
    iloc = data.find(b"iloc") + 12 + 6
    struct.pack_into(">II", changed, iloc, media + 8, len(payload))
    return bytes(changed)


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_clean_aperture_is_what_is_shown(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    samples = smooth(3)
    data = avif_files.encoded(samples, **({"exif": exif} if orientation > 1 else {}))
    if orientation > 1:
        data = data.replace(b"Exif\0\0", b"Exif\0\0")
    # 20 x 10, the centre of which lies 4 right of and 3 above that of the whole
    clap = struct.pack(">IIIIiIiI", 20, 1, 10, 1, 4, 1, -3, 1)
    data = avif_files.with_property(data, avif_files.box(b"clap", clap))
    back = read(kept(tmp_path, data)).samples
    wanted = samples[12:22, 22:42]
    wanted = np.rot90(wanted, -1) if orientation == 6 else wanted
    assert back.shape == wanted.shape
    assert np.abs(back.astype(int) - wanted).max() < 6


@pytest.mark.parametrize("numbers", [(80, 1, 10, 1, 0, 1, 0, 1), (20, 0, 10, 1, 0, 1, 0, 1)])
def test_an_impossible_aperture_is_an_error(tmp_path, numbers):
    clap = avif_files.box(b"clap", struct.pack(">IIIIiIiI", *numbers))
    data = avif_files.with_property(avif_files.encoded(smooth(3)), clap)
    with pytest.raises(PictureError, match="damaged"):
        read(kept(tmp_path, data))


@pytest.mark.parametrize("cut", [1, 2, 10, 100, 500])
def test_any_cut_is_an_error(tmp_path, cut):
    for channels in (1, 3, 4):
        samples = noise(channels)
        data = avif_files.encoded(samples[..., 0] if channels == 1 else samples)
        with pytest.raises(PictureError, match=r"x\.avif: "):
            read(kept(tmp_path, data[:-cut]))


def test_boxes_that_contradict_each_other_end_in_a_sentence(tmp_path):
    data = avif_files.encoded(noise(4), icc_profile=SRGB)
    end, failures = data.find(b"mdat"), 0
    for at in range(12, end, 3):
        changed = bytearray(data)
        changed[at] = 255 - data[at]
        path = kept(tmp_path, bytes(changed))
        try:
            open_frames(path)
        except PictureError:  # and nothing else
            failures += 1
    assert failures > 30


def test_items_whose_place_is_not_said_are_damage():
    data = bytearray(avif_files.encoded(noise(3)))
    at = data.find(b"iloc") + 8
    data[at : at + 2] = bytes(2)  # the bytes of offsets, lengths and bases
    with pytest.raises(PictureError, match="damaged"):
        items.coded_data(bytes(data), b"av1C")


# Colour


@pytest.mark.parametrize(
    ("said", "points"),
    [
        ((1, 13), None),
        ((2, 2), None),
        ((1, 2), None),
        ((0, 99), None),
        ((12, 13), CodePoints(12, 13)),
        ((9, 16), CodePoints(9, 16)),
        ((9, 18), CodePoints(9, 18)),
        ((2, 16), CodePoints(9, 16)),
        ((9, 2), CodePoints(9, 13)),
    ],
)
def test_code_points_are_read(tmp_path, said, points):
    data = avif_files.described(avif_files.encoded(noise(3)), *said)
    picture = read(kept(tmp_path, data))
    assert picture.code_points == points
    assert picture.icc is None


def test_a_profile_is_stronger_than_code_points(tmp_path):
    data = avif_files.encoded(noise(3), icc_profile=SRGB)
    picture = read(kept(tmp_path, data))
    assert picture.icc == SRGB
    assert picture.code_points is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_code_points_are_written(tmp_path, channels, dtype):
    picture = Picture(noise(channels, dtype), code_points=CodePoints(9, 16))
    write(picture, tmp_path / "x.avif")
    said = avif_files.descriptions((tmp_path / "x.avif").read_bytes())
    plain = tmp_path / "plain.avif"
    write(Picture(noise(channels, dtype)), plain)
    assert said == {(9, 16, 6)}
    assert read(plain).code_points is None
    back = read(tmp_path / "x.avif")
    assert back.code_points == CodePoints(9, 16)
    assert np.array_equal(back.samples, read(plain).samples)
    assert np.array_equal(
        imagecodecs.avif_decode((tmp_path / "x.avif").read_bytes()),
        imagecodecs.avif_decode(plain.read_bytes()),
    )


# Animations

TIMES = (100, 33, 250, 40)


def moving(channels: int = 4, **options) -> bytes:
    frames = [Image.fromarray(np.roll(smooth(channels), 5 * k, axis=1)) for k in range(4)]
    settings = {"quality": 100, "subsampling": "4:4:4", "speed": 9, "duration": list(TIMES)}
    file = io.BytesIO()
    frames[0].save(file, "AVIF", save_all=True, append_images=frames[1:], **settings | options)
    return file.getvalue()


@pytest.mark.parametrize("channels", [3, 4])
def test_frames_are_what_pillow_shows(tmp_path, channels):
    data = moving(channels)
    frames = open_frames(kept(tmp_path, data))
    assert (frames.durations, frames.loop) == (TIMES, 0)
    assert (frames.width, frames.height) == (56, 40)
    image = Image.open(io.BytesIO(data))
    assert len(list(frames)) == len(TIMES)
    for number, frame in enumerate(frames):
        image.seek(number)
        assert np.array_equal(frame.samples, np.array(image.convert("RGBA")))
    with pytest.raises(PictureError, match="several pages or frames"):
        read(tmp_path / "x.avif")


@pytest.mark.parametrize("loop", [0, 1, 2, 7])
def test_an_animation_is_written_back(tmp_path, loop):
    source = open_frames(kept(tmp_path, moving()))
    path = tmp_path / "y.avif"
    write_frames(source, path, durations=source.durations, loop=loop, quality=100)
    back = open_frames(path)
    assert (back.durations, back.loop) == (TIMES, loop)
    for ours, theirs in zip(source, back, strict=True):
        apart = np.abs(ours.samples.astype(int) - theirs.samples)
        assert apart[..., 3].max() <= 2
        assert apart[ours.samples[..., 3] > 50].max() < 16


@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_keeps_what_is_said_of_its_colours(tmp_path, channels):
    frames = [Picture(smooth(channels), code_points=CodePoints(12, 13))] * 2
    path = tmp_path / "x.avif"
    write_frames(frames, path, durations=[10, 20])
    assert {said[:2] for said in avif_files.descriptions(path.read_bytes())} == {(12, 13)}
    assert [frame.code_points for frame in open_frames(path)] == [CodePoints(12, 13)] * 2
    write_frames([Picture(smooth(3), icc=SRGB)] * 2, path, durations=[9, 9], overwrite=True)
    assert [(frame.icc, frame.code_points) for frame in open_frames(path)] == [(SRGB, None)] * 2


@pytest.mark.parametrize("part", [0.999, 0.9, 0.5, 0.2, 0.05])
def test_a_cut_animation_is_refused_before_any_frame(tmp_path, part):
    data = moving()
    with pytest.raises(PictureError, match=r"x\.avif: .*(damaged|cut|identif)"):
        open_frames(kept(tmp_path, data[: int(part * len(data))]))


def test_tables_of_frames_that_lie_end_in_a_sentence(tmp_path):
    data = moving()
    for kind, skip in ((b"stsz", 8), (b"stts", 4), (b"stsc", 4), (b"stco", 4), (b"mdhd", 20)):
        changed = bytearray(data)
        at = data.find(kind) + 4 + skip
        changed[at : at + 4] = b"\xff\xff\xff\xff" if kind != b"mdhd" else bytes(4)
        with pytest.raises(PictureError, match="damaged"):
            open_frames(kept(tmp_path, bytes(changed)))
