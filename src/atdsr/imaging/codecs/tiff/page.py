"""The tags of a page of a TIFF file: what they say about its samples, and where its segments are.

A segment is a strip or a tile. Source: TIFF 6.0; Adobe's technical notes on TIFF and Photoshop.
"""

from dataclasses import dataclass

import numpy as np

from atdsr.imaging.metadata import tags, xmp
from atdsr.imaging.metadata.tags import Layout, Table
from atdsr.imaging.picture import DamagedError, PictureError

KIND_OF_PAGE, FURTHER_TABLES, DNG_VERSION, RESOLUTION_UNIT = 254, 330, 50706, 296
BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, ORIENTATION, CHANNELS = 258, 259, 262, 266, 274, 277
ROWS_PER_STRIP, STRIP_SIZES, PLANAR, T4_OPTIONS, T6_OPTIONS, PREDICTOR = (
    278,
    279,
    284,
    292,
    293,
    317,
)
COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_SIZES, INK_SET, EXTRA = 320, 322, 323, 325, 332, 338
SAMPLE_FORMAT, JPEG_TABLES, COEFFICIENTS, SUBSAMPLING, REFERENCE, XMP = 339, 347, 529, 530, 532, 700
ICC, CURVES, WHITE_POINT, PRIMARIES = 34675, 301, 318, 319

TAGS = frozenset(
    {
        *(tags.WIDTH, tags.HEIGHT, tags.STRIPS, tags.TILES, RESOLUTION_UNIT),
        *(BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, ORIENTATION, CHANNELS),
        *(ROWS_PER_STRIP, STRIP_SIZES, PLANAR, T4_OPTIONS, T6_OPTIONS, PREDICTOR),
        *(COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_SIZES, INK_SET, EXTRA),
        *(SAMPLE_FORMAT, JPEG_TABLES, COEFFICIENTS, SUBSAMPLING, REFERENCE, XMP, ICC),
        *(CURVES, WHITE_POINT, PRIMARIES, KIND_OF_PAGE, FURTHER_TABLES, DNG_VERSION),
    }
)
"""All tags that are read."""

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
"""What samples mean (PhotometricInterpretation)."""

UNSIGNED, FLOAT = 1, 3
"""How samples are stored (SampleFormat)."""

NONE, JPEG = 1, 7
"""Compressions."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma, where YCbCrCoefficients is missing."""

FULL_RANGE = (0, 255, 128, 255, 128, 255)
"""Black and white of Y, Cb and Cr, where ReferenceBlackWhite is missing."""

_UNDEFINED = 4  # a sample format without a meaning
_LARGEST = 2**24  # pixels that tiles may cover where the picture has far fewer


@dataclass(frozen=True, eq=False)
class Page:
    """A page: its tags, and what they say that its decoding depends on.

    Attributes:
        data: The whole file.
        layout: How the file stores numbers.
        table: The tags of the page that are in `TAGS`.
        width: Width in pixels, as stored.
        height: Height in pixels, as stored.
        channels: Samples of a pixel.
        bits: Bits of a sample.
        form: `UNSIGNED`, `FLOAT`, or another number of SampleFormat.
        compression: A number of Compression.
        photometric: A number of PhotometricInterpretation; -1 where it is missing.
        planes: Equal to `channels` where each channel is stored by itself, else 1.
        tiled: Whether the segments are tiles.
        segment_width: Width of a segment in pixels; of a strip, that of the picture.
        segment_height: Height of a segment in pixels; the last strip may have fewer rows.
    """

    data: bytes
    layout: Layout
    table: Table
    width: int
    height: int
    channels: int
    bits: int
    form: int
    compression: int
    photometric: int
    planes: int
    tiled: bool
    segment_width: int
    segment_height: int

    @property
    def orientation(self) -> int:
        """The orientation as in EXIF; by XMP where there is no tag for it."""
        turned = self.number(ORIENTATION, 0)
        if not 1 <= turned <= 8:
            turned = xmp.orientation(self.blob(XMP)) or 1
        return turned

    @property
    def stored_bytes(self) -> int:
        """Bytes of all segments and of long tags, as the tags state them."""
        segments = sum(self.numbers(TILE_SIZES if self.tiled else STRIP_SIZES))
        return segments + sum(len(self.table[tag].data) for tag in (XMP, ICC) if tag in self.table)

    @property
    def across(self) -> int:
        """Number of segments side by side."""
        return -(-self.width // self.segment_width)

    @property
    def down(self) -> int:
        """Number of segments one below the other."""
        return -(-self.height // self.segment_height)

    @property
    def segment_channels(self) -> int:
        """Samples of a pixel that a segment holds."""
        return self.channels // self.planes

    @property
    def blocks(self) -> tuple[int, int]:
        """Pixels along x and y that share one colour, as YCbCr may have it."""
        if self.photometric != YCBCR or self.compression == JPEG:
            return 1, 1
        along = self.numbers(SUBSAMPLING)[:2]
        return (along[0], along[1]) if len(along) == 2 else (2, 2)

    @property
    def becomes_rgb(self) -> bool:
        """Whether the samples are YCbCr that the JPEG decoder converts to RGB."""
        if (self.photometric, self.compression, self.segment_channels) != (YCBCR, JPEG, 3):
            return False
        luma, reference = self.fractions(COEFFICIENTS, 3), self.fractions(REFERENCE, 6)
        return (luma is None or np.allclose(luma, LUMA, atol=1e-3)) and (
            reference is None or np.allclose(reference, FULL_RANGE)
        )

    def number(self, tag: int, default: int) -> int:
        """Return the first number of a tag."""
        return (*self.numbers(tag)[:1], default)[0]

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return all numbers of a tag; none where the tag is missing."""
        return self.table[tag].numbers(self.layout) if tag in self.table else ()

    def fractions(self, tag: int, count: int) -> np.ndarray | None:
        """Return the fractions of a tag, or None where the tag is missing.

        Raises:
            PictureError: There are not `count` of them.
        """
        if tag not in self.table:
            return None
        values = np.array(self.numbers(tag), np.float64)
        if self.table[tag].kind == tags.RATIONAL and values[1::2].all():
            values = values[::2] / values[1::2]
        if len(values) != count:
            raise DamagedError
        return values

    def blob(self, tag: int) -> bytes | None:
        """Return the bytes of a tag."""
        return bytes(self.table[tag].data) if tag in self.table else None


def page_from_tags(data: bytes, table: Table) -> Page:
    """Return the page that has these tags.

    Raises:
        PictureError: A tag that it needs is missing or makes no sense.
    """
    layout = tags.layout_of(data)

    def number(tag: int, default: int) -> int:
        entry = table.get(tag)
        return default if entry is None else entry.numbers(layout)[0]

    def common(tag: int) -> int:
        values = set(table[tag].numbers(layout)) if tag in table else {1}
        if len(values) > 1:
            raise PictureError("its channels differ in depth or kind; save it with equal ones.")
        return values.pop()

    width, height, channels = (number(tag, 0) for tag in (tags.WIDTH, tags.HEIGHT, CHANNELS))
    channels = channels if CHANNELS in table else 1
    tiled = TILE_WIDTH in table or tags.TILES in table
    segment_width = number(TILE_WIDTH, 0) if tiled else width
    segment_height = (
        number(TILE_HEIGHT, 0) if tiled else min(number(ROWS_PER_STRIP, height), height)
    )
    if not (width and height and channels and segment_width and segment_height):
        raise DamagedError
    covered = (
        -(-width // segment_width) * segment_width * -(-height // segment_height) * segment_height
    )
    if covered > max(_LARGEST, 8 * width * height):
        raise PictureError(
            f"its tiles of {segment_width}x{segment_height} are too large; save it with less."
        )
    form = common(SAMPLE_FORMAT)
    return Page(
        data,
        layout,
        table,
        width,
        height,
        channels,
        bits=common(BITS),
        form=UNSIGNED if form == _UNDEFINED else form,
        compression=number(COMPRESSION, NONE),
        photometric=number(PHOTOMETRIC, -1),
        planes=channels if number(PLANAR, 1) == 2 else 1,
        tiled=tiled,
        segment_width=segment_width,
        segment_height=segment_height,
    )


def locate_segments(page: Page, full_size: int, last_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the offsets of the segments in the file, and their sizes in bytes.

    Args:
        page: The page.
        full_size: How many bytes a segment has when it is not compressed.
        last_size: The same for the last segment of each plane.

    Raises:
        PictureError: A segment is missing or lies outside the file. A decoder would fill it in.
    """
    offsets = _array(page, tags.TILES if page.tiled else tags.STRIPS)
    sizes = _array(page, TILE_SIZES if page.tiled else STRIP_SIZES)
    count = page.planes * page.down * page.across
    if len(offsets) < count:
        raise PictureError(_missing(page))
    if page.compression == NONE:
        needed = np.full((page.planes, page.down * page.across), full_size, np.uint64)
        needed[:, -1] = last_size
        needed = needed.ravel()
        if not len(sizes):  # old writers left them out
            sizes = needed
        if len(sizes) < count or (sizes[:count] < needed).any():
            raise PictureError(_missing(page))
        sizes = needed  # some writers count the last strip, which is lower, as a full one
    offsets, sizes, end = offsets[:count], sizes[:count], np.uint64(len(page.data))
    inside = len(sizes) == count and (offsets < end).all() and (sizes <= end - offsets).all()
    if not (inside and offsets.all() and sizes.all()):
        raise PictureError(_missing(page))
    return offsets.astype(np.int64), sizes.astype(np.int64)


def _missing(page: Page) -> str:
    kind = "tile" if page.tiled else "strip"
    return f"a {kind} of it is missing or lies outside the file; it is damaged or cut short."


def _array(page: Page, tag: int) -> np.ndarray:
    entry = page.table.get(tag)
    if entry is None:
        return np.empty(0, np.uint64)
    kinds = {tags.SHORT: "u2", tags.LONG: "u4", tags.LONG8: "u8"}
    if entry.kind not in kinds:
        raise DamagedError
    return np.frombuffer(entry.data, page.layout.order + kinds[entry.kind]).astype(np.uint64)
