"""XMP rewritten for a picture that is upright and may have another size.

Sizes and positions in pixels are scaled. Properties are removed that describe another part of the
file (a gain map, a depth map, a film behind the picture, a thumbnail) or how samples were stored.

Sources: ISO 16684-1 (XMP) and XMP specification part 2; Exif 2.32 for XMP; Google's Photo Sphere
XMP metadata; MWG guidelines 2.0, section 5.9; IPTC Photo Metadata 2023.1; DJI's XMP.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from xml.dom import minidom
from xml.parsers import expat

LARGEST = 2**20
"""The longest XMP, in bytes, that is read; longer XMP is left out."""

_MOST_NODES, _DEEPEST = 20_000, 100

Size = tuple[int, int]
_Name = tuple[str | None, str]

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_XMP, _NOTE = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/xmp/note/"
_MEDIA = "http://ns.adobe.com/xap/1.0/mm/"
_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
_GOOGLE = "http://ns.google.com/photos/1.0/"
_PANO, _CAMERA = f"{_GOOGLE}panorama/", f"{_GOOGLE}camera/"
_REGIONS = "http://www.metadataworkinggroup.com/schemas/regions/"
_FACES = "http://ns.microsoft.com/photo/1.2/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
_AREA = "http://ns.adobe.com/xmp/sType/Area#"
_DRONE = "http://www.dji.com/drone-dji/1.0/"

_ORIENTATION: _Name = (_TIFF, "Orientation")

_FOREIGN = (  # namespaces, or their beginnings, for other parts of the file
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.apple.com/HDRGainMap/",
    "http://ns.apple.com/HDRToneMap/",
    "http://ns.apple.com/depthData/",
    "http://ns.apple.com/pixeldatainfo/",
    "http://ns.apple.com/portraitEffectsMatte/",
    "http://ns.apple.com/semanticSegmentationMatte/",
    "http://ns.google.com/photos/dd/",
    "http://ns.xdm.org/photos/",
    *(f"{_GOOGLE}{part}/" for part in ("audio", "container", "depthmap", "focus", "image")),
    "http://ns.oplus.com/photos/1.0/camera/",
    "http://ns.xiaomi.com/photos/1.0/camera/",
)
_REMOVED: frozenset[_Name] = frozenset(
    {
        *((_XMP, name) for name in ("Thumbnails", "PageInfo")),
        (_NOTE, "HasExtendedXMP"),
        *((_CAMERA, name) for name in ("hdrp_makernote", "shot_log_data", "PortraitRequest")),
        *((_PHOTOSHOP, name) for name in ("ColorMode", "ICCProfile")),
        *((_TIFF, name) for name in ("BitsPerSample", "Compression", "SamplesPerPixel")),
        *((_TIFF, name) for name in ("PhotometricInterpretation", "PlanarConfiguration")),
        *((_TIFF, name) for name in ("YCbCrSubSampling", "YCbCrPositioning", "NativeDigest")),
        *((_EXIF, name) for name in ("CompressedBitsPerPixel", "MakerNote", "NativeDigest")),
        (_DRONE, "DewarpData"),
    }
)
_FILMS = ("MicroVideo", "MotionPhoto")  # beginnings of Google's names for the film behind
_POSITIONS: frozenset[_Name] = frozenset(  # wrong after the picture has been turned
    {
        (_REGIONS, "Regions"),
        (_FACES, "RegionInfo"),
        (_IPTC, "ImageRegion"),
        *((_EXIF, name) for name in ("SubjectArea", "SubjectLocation")),
        *((_EXIF, f"FocalPlane{axis}Resolution") for axis in "XY"),
        *((_DRONE, f"CalibratedOpticalCenter{axis}") for axis in "XY"),
    }
)

_SIZES: dict[_Name, int] = {  # the picture's own size, along x (0) or y (1)
    **{(_TIFF, name): axis for axis, name in enumerate(("ImageWidth", "ImageLength"))},
    **{(_EXIF, f"Pixel{name}Dimension"): axis for axis, name in enumerate("XY")},
}
_SCALED: dict[_Name, tuple[int, ...]] = {  # the axis of each value
    **{(_PANO, f"FullPano{name}Pixels"): (k,) for k, name in enumerate(("Width", "Height"))},
    **{(_PANO, f"CroppedArea{name}Pixels"): (k,) for k, name in enumerate(("Left", "Top"))},
    **{
        (_PANO, f"CroppedAreaImage{name}Pixels"): (k,) for k, name in enumerate(("Width", "Height"))
    },
    **{
        (_PANO, f"LargestValidInteriorRect{name}"): (k % 2,)
        for k, name in enumerate(("Left", "Top", "Width", "Height"))
    },
    (_EXIF, "SubjectArea"): (0, 1, 0, 1),
    (_EXIF, "SubjectLocation"): (0, 1),
    **{(_EXIF, f"FocalPlane{name}Resolution"): (k,) for k, name in enumerate("XY")},
    **{(_DRONE, f"CalibratedOpticalCenter{name}"): (k,) for k, name in enumerate("XY")},
    (_DRONE, "CalibratedFocalLength"): (0,),
}
# fields of structures that state their unit: the axis, and the name of the field with the unit
_WITH_UNIT: dict[_Name, tuple[int, _Name]] = {
    **{(_DIMENSIONS, name): (k, (_DIMENSIONS, "unit")) for k, name in enumerate("wh")},
    **{(_AREA, name): (k % 2, (_AREA, "unit")) for k, name in enumerate("xywhd")},
    **{
        (_IPTC, name): (k % 2, (_IPTC, "rbUnit"))
        for k, name in enumerate(("rbX", "rbY", "rbW", "rbH", "rbRx"))
    },
}


class _RefusedError(Exception):
    """XML that is refused: it defines entities, or is far larger than anybody needs."""


@dataclass(frozen=True)
class _Value:
    """The value of a property: an attribute, or the text of an element."""

    node: minidom.Attr | minidom.Element

    @property
    def name(self) -> _Name:
        return self.node.namespaceURI, self.node.localName or ""

    def get(self) -> str:
        if isinstance(self.node, minidom.Attr):
            return self.node.value
        texts = (child for child in self.node.childNodes if isinstance(child, minidom.Text))
        return "".join(text.data for text in texts).strip()

    def set(self, text: str) -> None:
        if isinstance(self.node, minidom.Attr):
            self.node.value = text
            return
        text_node = minidom.Text()
        text_node.data = text
        self.node.childNodes[:] = [text_node]


def orientation(data: bytes | None) -> int | None:
    """Return the orientation that XMP states, 1 (upright) to 8; None where it states none."""
    document = _parse(data) if data else None
    if document is None:
        return None
    for value in _values(document):
        if value.name == _ORIENTATION and value.get() in tuple("12345678"):
            return int(value.get())
    return None


def rewrite(data: bytes, size: Size, old_size: Size, *, turned: bool) -> bytes | None:
    """Rewrite XMP for an upright picture, in UTF-8, with the prefixes that it had.

    Args:
        data: The packet.
        size: Width and height of the picture in pixels.
        old_size: Width and height of the picture that the packet describes.
        turned: Whether that picture was stored with another orientation.

    Returns:
        The packet, or None where it is malformed or longer than `LARGEST`.
    """
    document = _parse(data)
    root = document and document.documentElement
    if document is None or root is None or _is_removed(_Value(root).name, turned):
        return None
    _remove(document, turned)
    for value in list(_values(document)):
        if value.name == _ORIENTATION:
            value.set("1")
        elif value.name in _SIZES:
            value.set(str(size[_SIZES[value.name]]))
    if size != old_size:
        _scale(document, (size[0] / old_size[0], size[1] / old_size[1]))
    return "\n".join(child.toxml() for child in document.childNodes).encode()


def _parse(data: bytes) -> minidom.Document | None:
    """Parse a packet; None where it is malformed, too large or too deep."""
    if len(data) > LARGEST:
        return None
    if not data.startswith((b"\xff\xfe", b"\xfe\xff")):  # not UTF-16
        data = data.strip(b"\0 \t\r\n")  # some writers end it with zeros
    try:
        _check(data)
        return minidom.parseString(data)
    except (expat.ExpatError, _RefusedError, ValueError, LookupError):
        return None


def _check(data: bytes) -> None:
    """Check that XML is small enough to be cheap to parse, and defines no entities.

    Raises:
        _RefusedError: It is too large or deep, or has a document type.
        ExpatError: It is malformed.
    """
    parser = expat.ParserCreate(namespace_separator="\n")
    depth = nodes = 0

    def begin(_name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, nodes
        depth, nodes = depth + 1, nodes + 1 + len(attributes)
        if depth > _DEEPEST or nodes > _MOST_NODES:
            raise _RefusedError

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_args: object) -> None:
        raise _RefusedError

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(data, True)


def _elements(document: minidom.Document, *, history: bool) -> Iterator[minidom.Element]:
    """Yield all elements.

    The history describes other pictures, such as those that this one was made of.
    """
    stack = [document.documentElement]
    while stack:
        element = stack.pop()
        if element is None or (not history and element.namespaceURI == _MEDIA):
            continue
        yield element
        stack += [child for child in element.childNodes if isinstance(child, minidom.Element)]


def _values(document: minidom.Document) -> Iterator[_Value]:
    """Yield the values of all properties of the picture itself."""
    for element in _elements(document, history=False):
        yield _Value(element)
        yield from map(_Value, _attributes(element))


def _attributes(element: minidom.Element) -> list[minidom.Attr]:
    return list(element.attributes.values())


def _remove(document: minidom.Document, turned: bool) -> None:
    """Remove the properties that are true only of another picture or file."""
    for element in _elements(document, history=True):
        for attribute in _attributes(element):
            if attribute.prefix == "xmlns":  # some programs look only for the namespace
                is_removed = attribute.value.startswith(_FOREIGN)
            else:
                is_removed = _is_removed(_Value(attribute).name, turned)
            if is_removed:
                element.removeAttributeNode(attribute)
        element.childNodes[:] = [
            child
            for child in element.childNodes
            if not isinstance(child, minidom.Element) or not _is_removed(_Value(child).name, turned)
        ]


def _is_removed(name: _Name, turned: bool) -> bool:
    uri, local = name
    if uri is None:
        return False
    if uri.startswith(_FOREIGN) or name in _REMOVED:
        return True
    if uri == _CAMERA and local.startswith(_FILMS):
        return True
    return turned and (name in _POSITIONS or (uri == _PANO and name in _SCALED))


def _scale(document: minidom.Document, factors: tuple[float, float]) -> None:
    """Multiply what is in pixels; text that is not a number stays."""
    for element in _elements(document, history=False):
        values = [_Value(element), *map(_Value, _attributes(element))]
        for value in values:
            if axes := _SCALED.get(value.name):
                items = _items(element) if value.node is element else []
                for item, axis in zip(items or [value], axes, strict=False):
                    _multiply(item, factors[axis])
        _scale_structure(element, factors)


def _items(element: minidom.Element) -> list[_Value]:
    """Return the items of a property that is a list."""
    return [
        _Value(item)
        for items in element.childNodes
        if isinstance(items, minidom.Element) and items.namespaceURI == _RDF
        for item in items.childNodes
        if isinstance(item, minidom.Element) and item.localName == "li"
    ]


def _scale_structure(element: minidom.Element, factors: tuple[float, float]) -> None:
    """Scale the fields of a structure whose unit is the pixel."""
    children = [child for child in element.childNodes if isinstance(child, minidom.Element)]
    fields = {value.name: value for value in map(_Value, [*_attributes(element), *children])}
    for name, value in fields.items():
        if name in _WITH_UNIT:
            axis, unit = _WITH_UNIT[name]
            default = "pixel" if name[0] == _DIMENSIONS else ""
            stated_unit = fields[unit].get() if unit in fields else default
            if stated_unit.lower().startswith("pixel"):
                _multiply(value, factors[axis])


def _multiply(value: _Value, factor: float) -> None:
    """Multiply an integer, a decimal or a fraction; any other text stays."""
    numerator, slash, denominator = value.get().partition("/")
    try:
        number = float(numerator) * factor
    except ValueError:
        return
    if not math.isfinite(number) or abs(number) >= 2**53:
        return
    is_integer = slash or numerator.strip().lstrip("+-").isdigit()
    value.set((f"{round(number)}" if is_integer else f"{number:.10g}") + slash + denominator)
