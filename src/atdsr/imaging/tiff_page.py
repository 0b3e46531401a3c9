"""What the tags of a page of a TIFF file say of its samples, and where its parts are.

A part is a strip or a tile. Source: TIFF 6.0; Adobe's technical notes on TIFF and Photoshop.
"""

from dataclasses import dataclass

import numpy as np

from atdsr.imaging import colour_tags, tags, xmp
from atdsr.imaging.picture import PictureError
from atdsr.imaging.tags import Layout, Table

RESOLUTION_UNIT = 296
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
ICC = 34675

TAGS = frozenset(
    {
        *(tags.WIDTH, tags.HEIGHT, tags.STRIPS, tags.TILES, RESOLUTION_UNIT),
        *(BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, ORIENTATION, CHANNELS),
        *(ROWS_PER_STRIP, STRIP_SIZES, PLANAR, T4_OPTIONS, T6_OPTIONS, PREDICTOR),
        *(COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_SIZES, INK_SET, EXTRA),
        *(SAMPLE_FORMAT, JPEG_TABLES, COEFFICIENTS, SUBSAMPLING, REFERENCE, XMP, ICC),
        *colour_tags.TAGS,
    }
)
"""All of them; no other is read."""

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
"""What samples mean (PhotometricInterpretation)."""

UNSIGNED, FLOAT = 1, 3
"""How samples are stored (SampleFormat)."""

NONE, JPEG = 1, 7
"""Compressions."""

LUMA = (0.299, 0.587, 0.114)
"""Parts of red, green and blue in luma, where YCbCrCoefficients does not say so."""

FULL_RANGE = (0, 255, 128, 255, 128, 255)
"""Black and white of Y, Cb and Cr, where ReferenceBlackWhite does not say so."""

_UNDEFINED = 4  # a sample format that says nothing
_LARGEST = 2**24  # pixels that tiles may cover where the picture has far fewer
_DAMAGED = "it is damaged or cut short."


@dataclass(frozen=True, eq=False)
class Page:
    """A page: its tags, and what those say that its decoding depends on.

    Attributes:
        data: the whole file.
        layout: how the file writes numbers.
        table: the tags of the page that are in `TAGS`.
        width: in pixels, as stored.
        height: likewise.
        channels: samples of a pixel.
        bits: of a sample.
        form: `UNSIGNED`, `FLOAT`, or another number of SampleFormat.
        compression: a number of Compression.
        photometric: a number of PhotometricInterpretation; -1 where it is not said.
        planes: as many as `channels` where each channel is stored by itself, else 1.
        tiled: whether the parts are tiles.
        part_width: in pixels; that of the picture for strips.
        part_height: in pixels; the last strip may have fewer rows.
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
    part_width: int
    part_height: int

    @property
    def orientation(self) -> int:
        """How the picture lies, as EXIF counts; by XMP where no tag says it."""
        turned = self.number(ORIENTATION, 0)
        if not 1 <= turned <= 8:
            turned = xmp.orientation(self.blob(XMP)) or 1
        return turned

    @property
    def stored_bytes(self) -> int:
        """Bytes of all parts and of what is long beside them, as the tags have them."""
        parts = sum(self.numbers(TILE_SIZES if self.tiled else STRIP_SIZES))
        return parts + sum(len(self.table[tag].data) for tag in (XMP, ICC) if tag in self.table)

    @property
    def across(self) -> int:
        """Parts side by side."""
        return -(-self.width // self.part_width)

    @property
    def down(self) -> int:
        """Parts one below the other."""
        return -(-self.height // self.part_height)

    @property
    def together(self) -> int:
        """Samples of a pixel that a part holds."""
        return self.channels // self.planes

    @property
    def blocks(self) -> tuple[int, int]:
        """Pixels along x and y that are stored as one block with one colour: YCbCr may have it."""
        if self.photometric != YCBCR or self.compression == JPEG:
            return 1, 1
        along = self.numbers(SUBSAMPLING)[:2]
        return (along[0], along[1]) if len(along) == 2 else (2, 2)

    @property
    def becomes_rgb(self) -> bool:
        """Whether the samples are YCbCr that the decoder of JPEG turns into RGB."""
        if (self.photometric, self.compression, self.together) != (YCBCR, JPEG, 3):
            return False
        luma, reference = self.fractions(COEFFICIENTS, 3), self.fractions(REFERENCE, 6)
        return (luma is None or np.allclose(luma, LUMA, atol=1e-3)) and (
            reference is None or np.allclose(reference, FULL_RANGE)
        )

    def number(self, tag: int, default: int) -> int:
        """The first number of a tag."""
        return (*self.numbers(tag)[:1], default)[0]

    def numbers(self, tag: int) -> tuple[int, ...]:
        """All numbers of a tag; none where the tag is not there."""
        return self.table[tag].numbers(self.layout) if tag in self.table else ()

    def fractions(self, tag: int, count: int) -> np.ndarray | None:
        """So many fractions, or None where the tag is not there.

        Raises:
            PictureError: the tag has others than that.
        """
        if tag not in self.table:
            return None
        values = np.array(self.numbers(tag), np.float64)
        if self.table[tag].kind == tags.RATIONAL and values[1::2].all():
            values = values[::2] / values[1::2]
        if len(values) != count:
            raise PictureError(_DAMAGED)
        return values

    def blob(self, tag: int) -> bytes | None:
        """The bytes of a tag."""
        return bytes(self.table[tag].data) if tag in self.table else None


def page_of(data: bytes, table: Table) -> Page:
    """The page that has these tags.

    Raises:
        PictureError: a tag that it needs is missing or makes no sense.
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
    part_width = number(TILE_WIDTH, 0) if tiled else width
    part_height = number(TILE_HEIGHT, 0) if tiled else min(number(ROWS_PER_STRIP, height), height)
    if not (width and height and channels and part_width and part_height):
        raise PictureError(_DAMAGED)
    covered = -(-width // part_width) * part_width * -(-height // part_height) * part_height
    if covered > max(_LARGEST, 8 * width * height):
        raise PictureError(f"its tiles of {part_width}x{part_height} are too large.")
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
        part_width=part_width,
        part_height=part_height,
    )


def parts(page: Page, whole: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the parts lie in the file, and how many bytes each has.

    Args:
        page: whose parts.
        whole: how many bytes a part has when it is not compressed.
        last: likewise of the last part of each plane.

    Raises:
        PictureError: a part is missing, or does not lie in the file. A decoder would fill it in.
    """
    places = _array(page, tags.TILES if page.tiled else tags.STRIPS)
    sizes = _array(page, TILE_SIZES if page.tiled else STRIP_SIZES)
    count = page.planes * page.down * page.across
    if len(places) < count:
        raise PictureError(_missing(page))
    if page.compression == NONE:
        needed = np.full((page.planes, page.down * page.across), whole, np.uint64)
        needed[:, -1] = last
        needed = needed.ravel()
        if not len(sizes):  # old writers left it out
            sizes = needed
        if len(sizes) < count or (sizes[:count] < needed).any():
            raise PictureError(_missing(page))
        sizes = needed  # some count the last strip, which is lower, as a whole one
    places, sizes, end = places[:count], sizes[:count], np.uint64(len(page.data))
    inside = len(sizes) == count and (places < end).all() and (sizes <= end - places).all()
    if not (inside and places.all() and sizes.all()):
        raise PictureError(_missing(page))
    return places.astype(np.int64), sizes.astype(np.int64)


def _missing(page: Page) -> str:
    kind = "tile" if page.tiled else "strip"
    return f"a {kind} of it is missing or lies outside the file; it is damaged or cut short."


def _array(page: Page, tag: int) -> np.ndarray:
    entry = page.table.get(tag)
    if entry is None:
        return np.empty(0, np.uint64)
    kinds = {tags.SHORT: "u2", tags.LONG: "u4", tags.LONG8: "u8"}
    if entry.kind not in kinds:
        raise PictureError(_DAMAGED)
    return np.frombuffer(entry.data, page.layout.order + kinds[entry.kind]).astype(np.uint64)
