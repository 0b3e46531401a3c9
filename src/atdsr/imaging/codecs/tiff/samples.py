"""The samples of a page of a TIFF file, decoded strip by strip or tile by tile.

Nothing is filled in: a segment (strip or tile) that does not decode to all of its samples is an
error. libtiff only warns of many such segments and leaves them black, and libvips does not check
whether a tile was decoded. So they get the segments as the strips of a small TIFF file that states
nothing but how they are compressed (a tile becomes a strip of its own width): any warning is then
about the data, and counts. Uncompressed data, Deflate and LZMA need no libtiff, which would not
read the checksums of the last two.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from atdsr.imaging import vips
from atdsr.imaging.codecs import jpeg
from atdsr.imaging.codecs.tiff import page as tp
from atdsr.imaging.codecs.tiff.page import Page
from atdsr.imaging.metadata import tags
from atdsr.imaging.metadata.tags import Entry, Layout
from atdsr.imaging.picture import PictureError

_LZW, _DEFLATE, _OLD_DEFLATE, _LZMA, _WEBP = 5, 8, 32946, 34925, 50001
_FAX = (2, 3, 4, 32771)
_NEXT, _PACKBITS, _THUNDERSCAN = 32766, 32773, 32809
_BY_VIPS = (*_FAX, _LZW, _NEXT, _PACKBITS, _THUNDERSCAN, _WEBP, tp.JPEG)
_BY_PYTHON = (tp.NONE, _DEFLATE, _OLD_DEFLATE, _LZMA)
_LZMA_MEMORY = 2**28  # bytes, of which the strongest setting of libtiff needs a quarter
_PREDICTED = (_LZW, _DEFLATE, _OLD_DEFLATE, _LZMA)
_OWN_DEPTH = {_NEXT: 2, _THUNDERSCAN: 4, _WEBP: 8, tp.JPEG: 8} | dict.fromkeys(_FAX, 1)
_NAMES = {6: "old-style JPEG", 34661: "JBIG", 34712: "JPEG 2000", 34887: "LERC", 50000: "Zstandard"}
_NAMES |= {32909: "PixarLog", 34676: "SGI LogLuv", 34677: "SGI LogLuv", 50002: "JPEG XL"}
_UNDECODED = "a strip or tile of it cannot be decoded; it is damaged or cut short."
_UNPACKED = 2**20  # bytes whose bits are unpacked at a time
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def check(page: Page) -> None:
    """Refuse what `read_samples` cannot decode, before any work.

    Raises:
        PictureError: The compression, depth or layout is not supported.
    """
    if page.compression not in (*_BY_PYTHON, *_BY_VIPS):
        name = _NAMES.get(page.compression, "of an unknown kind")
        raise PictureError(
            f"its compression is {name} (TIFF compression {page.compression}), which is not "
            "supported; save it with LZW or Deflate."
        )
    depths = (16, 32, 64) if page.form == tp.FLOAT else range(1, 33)
    depth = _OWN_DEPTH.get(page.compression, page.bits)
    if page.bits not in depths or page.bits != depth or page.form not in (tp.UNSIGNED, tp.FLOAT):
        kind = {2: "signed", tp.UNSIGNED: "unsigned", tp.FLOAT: "floating-point"}
        raise PictureError(
            f"{kind.get(page.form, 'complex')} samples of {page.bits} bits are not supported; "
            "save it with unsigned integers of 8 or 16 bits."
        )
    predictor = _predictor(page)
    whole_bytes = page.bits in (8, 16, 32, 64)
    if (
        predictor not in (1, 2, 3)
        or (predictor > 1 and not whole_bytes)
        or (predictor == 3 and page.form != tp.FLOAT)
    ):
        raise PictureError(f"its predictor {predictor} is not supported; save it without one.")
    if page.blocks != (1, 1):
        _check_blocks(page, *page.blocks)
    in_jpeg = (page.photometric, page.compression, page.segment_channels) == (tp.YCBCR, tp.JPEG, 3)
    if in_jpeg and not page.becomes_rgb:
        raise PictureError("its JPEG data are YCbCr of an unusual range; save it as RGB.")


def _check_blocks(page: Page, along_x: int, along_y: int) -> None:
    """Check that subsampled YCbCr is stored as the specification has it."""
    fits = page.segment_height % along_y == 0 or (not page.tiled and page.down == 1)
    if page.tiled:
        fits = fits and page.segment_width % along_x == 0
    if (
        not {along_x, along_y} <= {1, 2, 4}
        or (page.channels, page.bits, page.planes, _predictor(page)) != (3, 8, 1, 1)
        or not fits
    ):
        raise PictureError("its subsampled YCbCr has an unknown layout; save it as RGB.")


def _predictor(page: Page) -> int:
    return page.number(tp.PREDICTOR, 1) if page.compression in _PREDICTED else 1


@dataclass(frozen=True, eq=False)
class _Run:
    """Segments whose rows follow each other: all tiles, or the strips of one plane.

    Attributes:
        rows: Rows of all segments together.
        segment_rows: Rows of a segment; the last one may have fewer.
        offsets: Where each segment is in the file.
        sizes: How many bytes each segment has.
    """

    rows: int
    segment_rows: int
    offsets: np.ndarray
    sizes: np.ndarray


def read_samples(page: Page) -> np.ndarray:
    """Return all samples of a page that `check` has accepted.

    Returns:
        Array h w c, with the channels together, as floats or as unsigned integers of any width.
        In YCbCr whose pixels share colours, each pixel gets its own.

    Raises:
        PictureError: A segment is missing or cannot be decoded.
    """
    segment_rows = -(-page.segment_height // page.blocks[1])
    rows = -(-page.height // page.blocks[1])
    last_rows = segment_rows if page.tiled else rows - (page.down - 1) * segment_rows
    row_bytes = _row_bytes(page)
    offsets, sizes = tp.locate_segments(page, segment_rows * row_bytes, last_rows * row_bytes)
    if page.tiled:
        tiles = _decode(page, _Run(len(offsets) * segment_rows, segment_rows, offsets, sizes))
        grid = (page.planes, page.down, page.across, -1, tiles.shape[1], page.segment_channels)
        # planes, tiles down and across, rows, columns, channels -> rows, columns, channels
        samples = tiles.reshape(grid).transpose(1, 3, 2, 4, 0, 5)
        samples = samples.reshape(samples.shape[0] * samples.shape[1], -1, page.channels)
    else:
        by_plane = zip(np.split(offsets, page.planes), np.split(sizes, page.planes), strict=True)
        planes = [_decode(page, _Run(rows, segment_rows, *strips)) for strips in by_plane]
        samples = np.concatenate(planes, 2) if len(planes) > 1 else planes[0]
    return samples[: page.height, : page.width]


def _row_bytes(page: Page) -> int:
    """Return the bytes of a row of a segment (a row of blocks, where pixels share colours)."""
    along_x, along_y = page.blocks
    if (along_x, along_y) != (1, 1):
        return -(-page.segment_width // along_x) * (along_x * along_y + 2)
    return -(-page.segment_width * page.segment_channels * page.bits // 8)


def _decode(page: Page, run: _Run) -> np.ndarray:
    """Decode the segments of a run, one below the other, to rows, pixels, channels."""
    if page.compression in _BY_PYTHON:
        return _unpack(_read_bytes(page, run), page)
    native = _is_native(page)
    load = vips.load().Image.tiffload_buffer
    try:
        file = _as_strips(page, run, native=native)
        rows = vips.from_vips(load(file, access="sequential", fail_on="warning"))
    except (PictureError, vips.load().Error) as error:
        raise PictureError(_UNDECODED) from error
    if not native:
        return _unpack(rows[..., 0], page)
    # libvips stretches fewer bits than 8 to the full range
    return rows >> (8 - page.bits) if page.bits < 8 else rows


def _read_bytes(page: Page, run: _Run) -> np.ndarray:
    """Decompress segments without libtiff, to rows, bytes of a row."""
    rows = np.empty((run.rows, _row_bytes(page)), np.uint8)
    view = memoryview(page.data)
    starts = range(0, run.rows, run.segment_rows)
    for start, offset, size in zip(starts, run.offsets.tolist(), run.sizes.tolist(), strict=True):
        segment = rows[start : start + run.segment_rows]
        content = view[offset : offset + size]
        if page.number(tp.FILL_ORDER, 1) == 2:  # it also applies to compressed data
            content = memoryview(bytes(content).translate(_REVERSED_BITS))
        if page.compression == _LZMA:
            content = _decompress_lzma(content, segment.size)
        elif page.compression != tp.NONE:
            content = _decompress(content, segment.size, run.segment_rows * rows.shape[1])
        segment[...] = np.frombuffer(content, np.uint8).reshape(segment.shape)
    return rows


def _decompress(content: memoryview, size: int, most: int) -> bytes:
    """Decompress Deflate to `size` bytes.

    There may be up to `most` bytes, since some writers fill up the last strip.
    """
    decompressor = zlib.decompressobj()
    try:
        result = decompressor.decompress(content, most)
        excess = decompressor.decompress(decompressor.unconsumed_tail, 1)  # reads the checksum
    except zlib.error as error:
        raise PictureError(_UNDECODED) from error
    if len(result) < size or excess:
        raise PictureError(_UNDECODED)
    return result[:size]


def _decompress_lzma(content: memoryview, size: int) -> bytes:
    """Decompress LZMA to `size` bytes, with a limit for the memory that it may demand."""
    import lzma  # few files need it

    try:
        decompressor = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
        result = decompressor.decompress(content, size)
        # reads the checksum
        excess = b"" if decompressor.eof else decompressor.decompress(b"", 1)
    except (lzma.LZMAError, EOFError) as error:
        raise PictureError(_UNDECODED) from error
    if len(result) < size or excess or not decompressor.eof:
        raise PictureError(_UNDECODED)
    return result


def _is_native(page: Page) -> bool:
    """Whether libvips returns samples of this kind unchanged, and not only their bytes."""
    if page.compression in _OWN_DEPTH:
        return True
    depths = (16, 32) if page.form == tp.FLOAT else (8, 16, 32)
    return page.bits in depths and page.blocks == (1, 1)


def _as_strips(page: Page, run: _Run, *, native: bool) -> bytes:
    """Return a TIFF file whose strips are the segments of a run, in gray.

    Args:
        page: The page.
        run: The segments.
        native: Whether the file has the samples of the page, or gray of 8 bits for each byte.

    Raises:
        PictureError: The first segment should be JPEG and is not.
    """
    layout = Layout(page.layout.order if native else "<", big=True)
    # the segments one after another, wherever they are in the file
    view, sizes = memoryview(page.data), run.sizes.tolist()
    body = [view[offset : offset + size] for offset, size in zip(run.offsets, sizes, strict=True)]
    head = (b"II+\0" if layout.order == "<" else b"MM\0+") + struct.pack(layout.order + "HH", 8, 0)
    begin = len(head) + layout.offset.size
    length = sum(sizes)
    end = begin + length + length % 2
    channels = page.segment_channels if native else 1
    numbers = {
        tags.WIDTH: page.segment_width if native else _row_bytes(page),
        tags.HEIGHT: run.rows,
        tp.COMPRESSION: page.compression,
        tp.PHOTOMETRIC: tp.YCBCR if page.becomes_rgb else tp.BLACK_IS_ZERO,
        tp.FILL_ORDER: page.number(tp.FILL_ORDER, 1),
        tp.CHANNELS: channels,
        tp.ROWS_PER_STRIP: run.segment_rows,
        tp.PREDICTOR: _predictor(page) if native else 1,
        tp.T4_OPTIONS: page.number(tp.T4_OPTIONS, 0),
        tp.T6_OPTIONS: page.number(tp.T6_OPTIONS, 0),
    }
    table = {tag: Entry.of(tags.LONG, layout, number) for tag, number in numbers.items()}
    bits, form = (page.bits, page.form) if native else (8, tp.UNSIGNED)
    for tag, number in ((tp.BITS, bits), (tp.SAMPLE_FORMAT, form)):
        table[tag] = Entry.of(tags.SHORT, layout, *[number] * channels)
    if page.becomes_rgb:
        segment = page.data[int(run.offsets[0]) :][: int(run.sizes[0])]
        table[tp.SUBSAMPLING] = Entry.of(tags.SHORT, layout, *jpeg.sampling(segment))
    elif channels > 1:
        table[tp.EXTRA] = Entry.of(tags.SHORT, layout, *[0] * (channels - 1))
    for tag, values in (
        (tags.STRIPS, begin + run.sizes.cumsum() - run.sizes),
        (tp.STRIP_SIZES, run.sizes),
    ):
        table[tag] = Entry(tags.LONG8, values.astype(layout.order + "u8").tobytes())
    if tp.JPEG_TABLES in page.table:
        table[tp.JPEG_TABLES] = page.table[tp.JPEG_TABLES]
    packed, offset = tags.pack(table, {}, end, layout)
    return b"".join((head, layout.offset.pack(offset), *body, bytes(length % 2), packed))


def _unpack(rows: np.ndarray, page: Page) -> np.ndarray:
    """Convert rows of bytes to rows, pixels, channels."""
    if page.blocks != (1, 1):
        return _repeat_colours(rows, *page.blocks)
    count = page.segment_width * page.segment_channels
    if page.bits not in (8, 16, 32, 64):
        return _unpack_bits(rows, count, page).reshape(len(rows), -1, page.segment_channels)
    size, predictor = page.bits // 8, _predictor(page)
    order, letter = page.layout.order, "f" if page.form == tp.FLOAT else "u"
    rows = np.ascontiguousarray(rows)
    if predictor == 3:  # differences of bytes, the highest bytes of all samples first
        summed = rows.reshape(len(rows), -1, page.segment_channels).cumsum(1, np.uint8)
        rows = summed.reshape(len(rows), size, count).transpose(0, 2, 1).reshape(len(rows), -1)
        order = ">"
    values = rows.view(f"{order}u{size}").astype(f"u{size}", copy=False)
    values = values.reshape(len(rows), -1, page.segment_channels)
    if predictor == 2:
        values = values.cumsum(1, values.dtype)
    return values.view(f"{letter}{size}")


def _unpack_bits(rows: np.ndarray, count: int, page: Page) -> np.ndarray:
    """Unpack samples of any depth, the highest bit first; of 24 bits, in the file's byte order."""
    bits = page.bits
    if bits == 24:
        three = rows.reshape(len(rows), count, 3).astype(np.uint32)
        three = three if page.layout.order == "<" else three[..., ::-1]
        low, middle, high = three.transpose(2, 0, 1)
        return low | middle << 8 | high << 16
    wide = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    values = np.zeros((len(rows), count), wide)
    step = max(1, _UNPACKED // rows.shape[1])
    for start in range(0, len(rows), step):
        block = values[start : start + step]
        digits = np.unpackbits(rows[start : start + step], 1, count * bits)
        digits = digits.reshape(*block.shape, bits)
        for k in range(bits):
            block <<= 1
            block |= digits[..., k]
    return values


def _repeat_colours(rows: np.ndarray, along_x: int, along_y: int) -> np.ndarray:
    """Convert rows of blocks (luma of each pixel, Cb, Cr) to rows of pixels with Y, Cb and Cr."""
    blocks = rows.reshape(len(rows), -1, along_x * along_y + 2)
    luma = blocks[..., :-2].reshape(*blocks.shape[:2], along_y, along_x).transpose(0, 2, 1, 3)
    colour = blocks[..., -2:].repeat(along_y, 0).repeat(along_x, 1)
    return np.concatenate((luma.reshape(*colour.shape[:2], 1), colour), 2)
