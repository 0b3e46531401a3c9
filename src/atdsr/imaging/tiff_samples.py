"""The samples of a page of a TIFF file, decoded strip by strip or tile by tile.

Nothing is filled in: a part that does not decode to all of its samples is an error. libtiff warns
of many such parts and leaves them black, and libvips does not look whether a tile was decoded. So
the parts are handed to them as the strips of a small TIFF file that says nothing but how they are
compressed (a tile is a strip as narrow as itself): any warning is then about the data, and
counts. What is not compressed, Deflate and LZMA need no libtiff, which would leave the checksums of
these two unread.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from atdsr.imaging import jpeg, tags, vips
from atdsr.imaging import tiff_page as tp
from atdsr.imaging.picture import PictureError
from atdsr.imaging.tags import Entry, Layout
from atdsr.imaging.tiff_page import Page

_LZW, _DEFLATE, _OLD_DEFLATE, _LZMA, _WEBP = 5, 8, 32946, 34925, 50001
_FAX = (2, 3, 4, 32771)
_NEXT, _PACKBITS, _THUNDERSCAN = 32766, 32773, 32809
_BY_VIPS = (*_FAX, _LZW, _NEXT, _PACKBITS, _THUNDERSCAN, _WEBP, tp.JPEG)
_BY_BYTES = (tp.NONE, _DEFLATE, _OLD_DEFLATE, _LZMA)
_LZMA_MEMORY = 2**28  # bytes, of which the strongest setting of libtiff needs a quarter
_PREDICTED = (_LZW, _DEFLATE, _OLD_DEFLATE, _LZMA)
_OWN_DEPTH = {_NEXT: 2, _THUNDERSCAN: 4, _WEBP: 8, tp.JPEG: 8} | dict.fromkeys(_FAX, 1)
_NAMES = {6: "old-style JPEG", 34661: "JBIG", 34712: "JPEG 2000", 34887: "LERC", 50000: "Zstandard"}
_NAMES |= {32909: "PixarLog", 34676: "SGI LogLuv", 34677: "SGI LogLuv", 50002: "JPEG XL"}
_UNDECODED = "a strip or tile of it cannot be decoded; it is damaged or cut short."
_AT_ONCE = 2**20  # bytes whose bits are looked at together
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def check(page: Page) -> None:
    """Refuse what `samples` cannot decode, before any work.

    Raises:
        PictureError: the compression, depth or layout is not supported.
    """
    if page.compression not in (*_BY_BYTES, *_BY_VIPS):
        name = _NAMES.get(page.compression, "an unknown way")
        raise PictureError(
            f"it is compressed as {name} (TIFF compression {page.compression}), which is not "
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
    whole = page.bits in (8, 16, 32, 64)
    if (
        predictor not in (1, 2, 3)
        or (predictor > 1 and not whole)
        or (predictor == 3 and page.form != tp.FLOAT)
    ):
        raise PictureError(f"its predictor {predictor} is not supported; save it without one.")
    if page.blocks != (1, 1):
        _check_blocks(page, *page.blocks)
    in_jpeg = (page.photometric, page.compression, page.together) == (tp.YCBCR, tp.JPEG, 3)
    if in_jpeg and not page.becomes_rgb:
        raise PictureError("its JPEG has YCbCr of an unusual range; save it as RGB.")


def _check_blocks(page: Page, along_x: int, along_y: int) -> None:
    """YCbCr with subsampled colour is only read as the specification has it."""
    fits = page.part_height % along_y == 0 or (not page.tiled and page.down == 1)
    if page.tiled:
        fits = fits and page.part_width % along_x == 0
    if (
        not {along_x, along_y} <= {1, 2, 4}
        or (page.channels, page.bits, page.planes, _predictor(page)) != (3, 8, 1, 1)
        or not fits
    ):
        raise PictureError("its subsampled YCbCr is of no known layout; save it as RGB.")


def _predictor(page: Page) -> int:
    return page.number(tp.PREDICTOR, 1) if page.compression in _PREDICTED else 1


@dataclass(frozen=True, eq=False)
class _Run:
    """Parts whose rows follow each other: all tiles, or the strips of one plane.

    Attributes:
        rows: of all parts together.
        part_rows: of a part; the last one may have fewer.
        places: where each part lies in the file.
        sizes: how many bytes each part has.
    """

    rows: int
    part_rows: int
    places: np.ndarray
    sizes: np.ndarray


def samples(page: Page) -> np.ndarray:
    """All samples of a page that `check` lets pass.

    Returns:
        h w c, with the channels together, as floats or as unsigned integers of any width. Of
        YCbCr that shares colour among pixels, each pixel gets its own.

    Raises:
        PictureError: a part is missing or cannot be decoded.
    """
    part_rows = -(-page.part_height // page.blocks[1])
    rows = -(-page.height // page.blocks[1])
    last = part_rows if page.tiled else rows - (page.down - 1) * part_rows
    places, sizes = tp.parts(page, part_rows * _row_bytes(page), last * _row_bytes(page))
    if page.tiled:
        found = _decoded(page, _Run(len(places) * part_rows, part_rows, places, sizes))
        grid = (page.planes, page.down, page.across, -1, found.shape[1], page.together)
        whole = found.reshape(grid).transpose(1, 3, 2, 4, 0, 5)
        whole = whole.reshape(whole.shape[0] * whole.shape[1], -1, page.channels)
    else:
        by_plane = zip(np.split(places, page.planes), np.split(sizes, page.planes), strict=True)
        planes = [_decoded(page, _Run(rows, part_rows, *parts)) for parts in by_plane]
        whole = np.concatenate(planes, 2) if len(planes) > 1 else planes[0]
    return whole[: page.height, : page.width]


def _row_bytes(page: Page) -> int:
    """Bytes of a row of a part (of blocks, where pixels are stored in such)."""
    along_x, along_y = page.blocks
    if (along_x, along_y) != (1, 1):
        return -(-page.part_width // along_x) * (along_x * along_y + 2)
    return -(-page.part_width * page.together * page.bits // 8)


def _decoded(page: Page, run: _Run) -> np.ndarray:
    """The parts of a run one below the other: rows, pixels of a part, channels of a part."""
    if page.compression in _BY_BYTES:
        return _unpacked(_bytes(page, run), page)
    native = _is_native(page)
    load = vips.load().Image.tiffload_buffer
    try:
        file = _strips(page, run, native=native)
        rows = vips.from_vips(load(file, access="sequential", fail_on="warning"))
    except (PictureError, vips.load().Error) as error:
        raise PictureError(_UNDECODED) from error
    if not native:
        return _unpacked(rows[..., 0], page)
    # libvips spreads fewer bits than 8 over the full range
    return rows >> (8 - page.bits) if page.bits < 8 else rows


def _bytes(page: Page, run: _Run) -> np.ndarray:
    """The bytes of parts that need no libtiff: rows, bytes of a row."""
    rows = np.empty((run.rows, _row_bytes(page)), np.uint8)
    view = memoryview(page.data)
    starts = range(0, run.rows, run.part_rows)
    for start, place, size in zip(starts, run.places.tolist(), run.sizes.tolist(), strict=True):
        part = rows[start : start + run.part_rows]
        content = view[place : place + size]
        if page.number(tp.FILL_ORDER, 1) == 2:  # also of what is compressed
            content = memoryview(bytes(content).translate(_REVERSED))
        if page.compression == _LZMA:
            content = _from_lzma(content, part.size)
        elif page.compression != tp.NONE:
            content = _from_deflate(content, part.size, run.part_rows * rows.shape[1])
        part[...] = np.frombuffer(content, np.uint8).reshape(part.shape)
    return rows


def _from_deflate(content: memoryview, size: int, most: int) -> bytes:
    """So many bytes; there may be `most`, since some writers fill the last strip up."""
    decoder = zlib.decompressobj()
    try:
        found = decoder.decompress(content, most)
        rest = decoder.decompress(decoder.unconsumed_tail, 1)  # what checks the whole
    except zlib.error as error:
        raise PictureError(_UNDECODED) from error
    if len(found) < size or rest:
        raise PictureError(_UNDECODED)
    return found[:size]


def _from_lzma(content: memoryview, size: int) -> bytes:
    """So many bytes, and no more than they are worth of memory."""
    import lzma  # few files need it

    try:
        decoder = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
        found = decoder.decompress(content, size)
        rest = b"" if decoder.eof else decoder.decompress(b"", 1)  # what checks the whole
    except (lzma.LZMAError, EOFError) as error:
        raise PictureError(_UNDECODED) from error
    if len(found) < size or rest or not decoder.eof:
        raise PictureError(_UNDECODED)
    return found


def _is_native(page: Page) -> bool:
    """Whether libvips gives samples of this kind as they are, and not only their bytes."""
    if page.compression in _OWN_DEPTH:
        return True
    depths = (16, 32) if page.form == tp.FLOAT else (8, 16, 32)
    return page.bits in depths and page.blocks == (1, 1)


def _strips(page: Page, run: _Run, *, native: bool) -> bytes:
    """A TIFF file whose strips are the parts of a run, in gray.

    Args:
        page: whose parts.
        run: which of them.
        native: whether the file has the samples of the page, or gray of 8 bits for each byte.

    Raises:
        PictureError: the first part shall be JPEG and is not.
    """
    layout = Layout(page.layout.order if native else "<", big=True)
    # the parts one behind the other, wherever they lie in the file
    view, sizes = memoryview(page.data), run.sizes.tolist()
    body = [view[place : place + size] for place, size in zip(run.places, sizes, strict=True)]
    head = (b"II+\0" if layout.order == "<" else b"MM\0+") + struct.pack(layout.order + "HH", 8, 0)
    begin = len(head) + layout.offset.size
    length = sum(sizes)
    end = begin + length + length % 2
    channels = page.together if native else 1
    numbers = {
        tags.WIDTH: page.part_width if native else _row_bytes(page),
        tags.HEIGHT: run.rows,
        tp.COMPRESSION: page.compression,
        tp.PHOTOMETRIC: tp.YCBCR if page.becomes_rgb else tp.BLACK_IS_ZERO,
        tp.FILL_ORDER: page.number(tp.FILL_ORDER, 1),
        tp.CHANNELS: channels,
        tp.ROWS_PER_STRIP: run.part_rows,
        tp.PREDICTOR: _predictor(page) if native else 1,
        tp.T4_OPTIONS: page.number(tp.T4_OPTIONS, 0),
        tp.T6_OPTIONS: page.number(tp.T6_OPTIONS, 0),
    }
    table = {tag: Entry.of(tags.LONG, layout, number) for tag, number in numbers.items()}
    bits, form = (page.bits, page.form) if native else (8, tp.UNSIGNED)
    for tag, number in ((tp.BITS, bits), (tp.SAMPLE_FORMAT, form)):
        table[tag] = Entry.of(tags.SHORT, layout, *[number] * channels)
    if page.becomes_rgb:
        part = page.data[int(run.places[0]) :][: int(run.sizes[0])]
        table[tp.SUBSAMPLING] = Entry.of(tags.SHORT, layout, *jpeg.sampling(part))
    elif channels > 1:
        table[tp.EXTRA] = Entry.of(tags.SHORT, layout, *[0] * (channels - 1))
    for tag, values in (
        (tags.STRIPS, begin + run.sizes.cumsum() - run.sizes),
        (tp.STRIP_SIZES, run.sizes),
    ):
        table[tag] = Entry(tags.LONG8, values.astype(layout.order + "u8").tobytes())
    if tp.JPEG_TABLES in page.table:
        table[tp.JPEG_TABLES] = page.table[tp.JPEG_TABLES]
    packed, at = tags.pack(table, {}, end, layout)
    return b"".join((head, layout.offset.pack(at), *body, bytes(length % 2), packed))


def _unpacked(rows: np.ndarray, page: Page) -> np.ndarray:
    """Rows of bytes as rows, pixels, channels."""
    if page.blocks != (1, 1):
        return _spread(rows, *page.blocks)
    count = page.part_width * page.together
    if page.bits not in (8, 16, 32, 64):
        return _from_bits(rows, count, page).reshape(len(rows), -1, page.together)
    size, predictor = page.bits // 8, _predictor(page)
    order, kind = page.layout.order, "f" if page.form == tp.FLOAT else "u"
    rows = np.ascontiguousarray(rows)
    if predictor == 3:  # differences of bytes, the highest of all samples first
        summed = rows.reshape(len(rows), -1, page.together).cumsum(1, np.uint8)
        rows = summed.reshape(len(rows), size, count).transpose(0, 2, 1).reshape(len(rows), -1)
        order = ">"
    values = rows.view(f"{order}u{size}").astype(f"u{size}", copy=False)
    values = values.reshape(len(rows), -1, page.together)
    if predictor == 2:
        values = values.cumsum(1, values.dtype)
    return values.view(f"{kind}{size}")


def _from_bits(rows: np.ndarray, count: int, page: Page) -> np.ndarray:
    """Samples of any depth, the highest bit first; of 24 bits, in the order of the file."""
    bits = page.bits
    if bits == 24:
        three = rows.reshape(len(rows), count, 3).astype(np.uint32)
        three = three if page.layout.order == "<" else three[..., ::-1]
        low, middle, high = three.transpose(2, 0, 1)
        return low | middle << 8 | high << 16
    wide = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    values = np.zeros((len(rows), count), wide)
    step = max(1, _AT_ONCE // rows.shape[1])
    for start in range(0, len(rows), step):
        some = values[start : start + step]
        digits = np.unpackbits(rows[start : start + step], 1, count * bits)
        digits = digits.reshape(*some.shape, bits)
        for k in range(bits):
            some <<= 1
            some |= digits[..., k]
    return values


def _spread(rows: np.ndarray, along_x: int, along_y: int) -> np.ndarray:
    """Rows of blocks (luma of each pixel, Cb, Cr) as rows of pixels with Y, Cb and Cr each."""
    blocks = rows.reshape(len(rows), -1, along_x * along_y + 2)
    luma = blocks[..., :-2].reshape(*blocks.shape[:2], along_y, along_x).transpose(0, 2, 1, 3)
    colour = blocks[..., -2:].repeat(along_y, 0).repeat(along_x, 1)
    return np.concatenate((luma.reshape(*colour.shape[:2], 1), colour), 2)
