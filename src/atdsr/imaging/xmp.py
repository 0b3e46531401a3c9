"""XMP rewritten for a picture that lies upright and may be of another size.

What states a size or a place in pixels is scaled. What describes another part of the file (a gain
map, a depth map, a film behind the picture, a thumbnail) or how its samples were stored goes.

Sources: ISO 16684-1 (XMP) and XMP specification part 2; Exif 2.32 for XMP; Google's Photo Sphere
XMP metadata; MWG guidelines 2.0, section 5.9; IPTC Photo Metadata 2023.1; DJI's XMP.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from xml.dom import minidom
from xml.parsers import expat

LARGEST = 2**20
"""Bytes of XMP that are looked at; what is longer is left out."""

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

_FOREIGN = (  # namespaces, or their beginnings, of what describes other parts of the file
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
_GONE: frozenset[_Name] = frozenset(
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
_FILMS = ("MicroVideo", "MotionPhoto")  # begin the names of Google's about the film behind
_PLACES: frozenset[_Name] = frozenset(  # of a picture that has been turned since
    {
        (_REGIONS, "Regions"),
        (_FACES, "RegionInfo"),
        (_IPTC, "ImageRegion"),
        *((_EXIF, name) for name in ("SubjectArea", "SubjectLocation")),
        *((_EXIF, f"FocalPlane{axis}Resolution") for axis in "XY"),
        *((_DRONE, f"CalibratedOpticalCenter{axis}") for axis in "XY"),
    }
)

_SIZES: dict[_Name, int] = {  # the picture's own size: along x (0) or y (1)
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
# fields of structures that have their unit beside them: the axis, and the name of the unit
_WITH_UNIT: dict[_Name, tuple[int, _Name]] = {
    **{(_DIMENSIONS, name): (k, (_DIMENSIONS, "unit")) for k, name in enumerate("wh")},
    **{(_AREA, name): (k % 2, (_AREA, "unit")) for k, name in enumerate("xywhd")},
    **{
        (_IPTC, name): (k % 2, (_IPTC, "rbUnit"))
        for k, name in enumerate(("rbX", "rbY", "rbW", "rbH", "rbRx"))
    },
}


class _RefusedError(Exception):
    """XML that is no XMP: entities, or far more than anybody needs."""


@dataclass(frozen=True)
class _Value:
    """The value of a property, where it stands: in an attribute, or as the text of an element."""

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
        written = minidom.Text()
        written.data = text
        self.node.childNodes[:] = [written]


def orientation(data: bytes | None) -> int | None:
    """The orientation that XMP states, 1 (upright) to 8; None where it states none."""
    document = _parsed(data) if data else None
    if document is None:
        return None
    for value in _values(document):
        if value.name == _ORIENTATION and value.get() in tuple("12345678"):
            return int(value.get())
    return None


def rewritten(data: bytes, size: Size, old: Size, *, turned: bool) -> bytes | None:
    """XMP for an upright picture, in UTF-8, with the prefixes that it had.

    Args:
        data: the packet.
        size: width and height of the picture in pixels.
        old: width and height that the packet speaks of.
        turned: whether the picture did not lie upright as the packet was written.

    Returns:
        None where it is malformed or more than `LARGEST`.
    """
    document = _parsed(data)
    root = document and document.documentElement
    if document is None or root is None or _goes(_Value(root).name, turned):
        return None
    _drop(document, turned)
    for value in list(_values(document)):
        if value.name == _ORIENTATION:
            value.set("1")
        elif value.name in _SIZES:
            value.set(str(size[_SIZES[value.name]]))
    if size != old:
        _scale(document, (size[0] / old[0], size[1] / old[1]))
    return "\n".join(child.toxml() for child in document.childNodes).encode()


def _parsed(data: bytes) -> minidom.Document | None:
    """The packet as a tree that is neither deep nor large."""
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
    """See that XML is of a size that costs little, and defines no entities.

    Raises:
        _RefusedError: it is not.
        ExpatError: it is malformed.
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
    """All elements; the history tells of other pictures, such as those this one is made of."""
    waiting = [document.documentElement]
    while waiting:
        element = waiting.pop()
        if element is None or (not history and element.namespaceURI == _MEDIA):
            continue
        yield element
        waiting += [child for child in element.childNodes if isinstance(child, minidom.Element)]


def _values(document: minidom.Document) -> Iterator[_Value]:
    """The values of all properties of the picture itself."""
    for element in _elements(document, history=False):
        yield _Value(element)
        yield from map(_Value, _attributes(element))


def _attributes(element: minidom.Element) -> list[minidom.Attr]:
    return list(element.attributes.values())


def _drop(document: minidom.Document, turned: bool) -> None:
    """Take out what is true of another picture or file only."""
    for element in _elements(document, history=True):
        for attribute in _attributes(element):
            if attribute.prefix == "xmlns":  # programs may look for no more than the namespace
                goes = attribute.value.startswith(_FOREIGN)
            else:
                goes = _goes(_Value(attribute).name, turned)
            if goes:
                element.removeAttributeNode(attribute)
        element.childNodes[:] = [
            child
            for child in element.childNodes
            if not (isinstance(child, minidom.Element) and _goes(_Value(child).name, turned))
        ]


def _goes(name: _Name, turned: bool) -> bool:
    uri, local = name
    if uri is None:
        return False
    if uri.startswith(_FOREIGN) or name in _GONE:
        return True
    if uri == _CAMERA and local.startswith(_FILMS):
        return True
    return turned and (name in _PLACES or (uri == _PANO and name in _SCALED))


def _scale(document: minidom.Document, factors: tuple[float, float]) -> None:
    """Multiply what is in pixels; what is no number, and so nothing to scale, stays."""
    for element in _elements(document, history=False):
        values = [_Value(element), *map(_Value, _attributes(element))]
        for value in values:
            if axes := _SCALED.get(value.name):
                items = _items(element) if value.node is element else []
                for item, axis in zip(items or [value], axes, strict=False):
                    _multiply(item, factors[axis])
        _scale_structure(element, factors)


def _items(element: minidom.Element) -> list[_Value]:
    """The items of a property that is a list."""
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
            said = fields[unit].get() if unit in fields else default
            if said.lower().startswith("pixel"):
                _multiply(value, factors[axis])


def _multiply(value: _Value, factor: float) -> None:
    """Multiply a whole number, a decimal or a fraction; any other text stays."""
    text = value.get()
    above, stroke, below = text.partition("/")
    try:
        number = float(above) * factor
    except ValueError:
        return
    if not math.isfinite(number) or abs(number) >= 2**53:
        return
    whole = stroke or above.strip().lstrip("+-").isdigit()
    value.set((f"{round(number)}" if whole else f"{number:.10g}") + stroke + below)
