"""XMP of a picture that was turned or has another size now."""

import io
import re
from pathlib import Path
from typing import Any
from xml.dom import minidom

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from atdsr.imaging import Metadata, Picture, metadata, notices, open_frames, read, write
from atdsr.imaging.metadata import xmp
from helpers.pictures import noise

SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
    "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "Container": "http://ns.google.com/photos/1.0/container/",
    "Item": "http://ns.google.com/photos/1.0/container/item/",
    "GDepth": "http://ns.google.com/photos/1.0/depthmap/",
    "GImage": "http://ns.google.com/photos/1.0/image/",
    "Device": "http://ns.google.com/photos/dd/1.0/device/",
    "HDRGainMap": "http://ns.apple.com/HDRGainMap/1.0/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "drone-dji": "http://www.dji.com/drone-dji/1.0/",
}


def packet(attributes: str = "", elements: str = "") -> bytes:
    used = [f'xmlns:{name}="{uri}"' for name, uri in SPACES.items()]
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {" ".join(used)}>'
        f'<rdf:Description rdf:about="" {attributes}>{elements}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def doubled(content: bytes, *, turned: bool = False) -> str:
    """The packet for a picture of twice the width and three times the height."""
    made = xmp.rewrite(content, (80, 90), (40, 30), turned=turned)
    assert made is not None
    minidom.parseString(made)  # it is well-formed
    return made.decode()


def test_sizes_are_scaled_as_attributes_and_as_elements():
    sizes = {
        "tiff:ImageWidth": ("5", "80"),
        "tiff:ImageLength": ("5", "90"),
        "exif:PixelXDimension": ("5", "80"),
        "exif:PixelYDimension": ("5", "90"),
        "GPano:FullPanoWidthPixels": ("100", "200"),
        "GPano:FullPanoHeightPixels": ("100", "300"),
        "GPano:CroppedAreaImageWidthPixels": ("40", "80"),
        "GPano:CroppedAreaImageHeightPixels": ("30", "90"),
        "GPano:CroppedAreaLeftPixels": ("7", "14"),
        "GPano:CroppedAreaTopPixels": ("7", "21"),
        "GPano:LargestValidInteriorRectLeft": ("1", "2"),
        "GPano:LargestValidInteriorRectTop": ("1", "3"),
        "GPano:LargestValidInteriorRectWidth": ("10", "20"),
        "GPano:LargestValidInteriorRectHeight": ("10", "30"),
        "exif:FocalPlaneXResolution": ("1500/7", "3000/7"),
        "drone-dji:CalibratedOpticalCenterX": ("2.25", "4.5"),
        "drone-dji:CalibratedOpticalCenterY": ("+2.25", "6.75"),
        "GPano:PoseHeadingDegrees": ("350.0", "350.0"),
        "tiff:Orientation": ("6", "1"),
        "tiff:Make": ("5", "5"),
    }
    made = doubled(packet(" ".join(f'{name}="{old}"' for name, (old, _) in sizes.items())))
    for name, (_, new) in sizes.items():
        assert f'{name}="{new}"' in made
    made = doubled(packet("", "".join(f"<{n}>{old}</{n}>" for n, (old, _) in sizes.items())))
    for name, (_, new) in sizes.items():
        assert f"<{name}>{new}</{name}>" in made


def test_another_prefix_means_the_same():
    content = (
        packet('tiff:ImageWidth="5" hdrgm:Version="1"')
        .replace(b"tiff:", b"t:")
        .replace(b":tiff=", b":t=")
        .replace(b"hdrgm", b"h")
    )
    made = doubled(content)
    assert 't:ImageWidth="80"' in made
    assert "h:Version" not in made


def test_lists_and_structures_in_pixels_are_scaled():
    made = doubled(
        packet(
            "",
            "<exif:SubjectArea><rdf:Seq><rdf:li>10</rdf:li><rdf:li>11</rdf:li><rdf:li>4</rdf:li>"
            "<rdf:li>5</rdf:li></rdf:Seq></exif:SubjectArea>"
            '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions stDim:w="40" '
            'stDim:h="30" stDim:unit="pixel"/><mwg-rs:RegionList><rdf:Bag><rdf:li '
            'rdf:parseType="Resource"><mwg-rs:Area stArea:x="0.5" stArea:y="0.25" stArea:w="0.1" '
            'stArea:h="0.2" stArea:unit="normalized"/></rdf:li></rdf:Bag></mwg-rs:RegionList>'
            "</mwg-rs:Regions>"
            '<Iptc4xmpExt:ImageRegion><rdf:Bag><rdf:li rdf:parseType="Resource">'
            '<Iptc4xmpExt:RegionBoundary rdf:parseType="Resource"><Iptc4xmpExt:rbUnit>pixel'
            "</Iptc4xmpExt:rbUnit><Iptc4xmpExt:rbX>7</Iptc4xmpExt:rbX><Iptc4xmpExt:rbY>8"
            "</Iptc4xmpExt:rbY></Iptc4xmpExt:RegionBoundary></rdf:li></rdf:Bag>"
            "</Iptc4xmpExt:ImageRegion>",
        )
    )
    assert re.findall(r"<rdf:li>(\d+)</rdf:li>", made) == ["20", "33", "8", "15"]
    assert 'stDim:w="80" stDim:h="90"' in made
    assert 'stArea:x="0.5" stArea:y="0.25" stArea:w="0.1" stArea:h="0.2"' in made
    assert re.findall(r"rb[XY]>(\d+)<", made) == ["14", "24"]


def test_what_tells_of_other_parts_of_the_file_goes():
    attributes = (
        'GCamera:MicroVideo="1" GCamera:MicroVideoOffset="9" GCamera:MotionPhoto="1" '
        'GCamera:MotionPhotoPresentationTimestampUs="5" hdrgm:Version="1.0" GDepth:Data="AAAA" '
        'GImage:Data="AAAA" xmpNote:HasExtendedXMP="ABC" HDRGainMap:HDRGainMapVersion="1" '
        'GCamera:BurstID="stays" dc:creator="Ann" tiff:Compression="5"'
    )
    elements = (
        "<Container:Directory><rdf:Seq><rdf:li><Container:Item Item:Length='5'/></rdf:li></rdf:Seq>"
        "</Container:Directory><xmp:Thumbnails><rdf:Alt><rdf:li>AAAA</rdf:li></rdf:Alt>"
        "</xmp:Thumbnails><Device:Cameras><rdf:Seq/></Device:Cameras><hdrgm:GainMapMax>1"
        "</hdrgm:GainMapMax><dc:rights>mine</dc:rights>"
    )
    made = doubled(packet(attributes, elements))
    for gone in (
        *("MicroVideo", "MotionPhoto", "hdrgm", "hdr-gain-map", "AAAA", "HasExtendedXMP"),
        *("HDRGainMap", "Container:", "Item:", "Thumbnails", "Device:", "Compression"),
    ):
        assert gone not in made
    assert 'dc:creator="Ann"' in made
    assert 'GCamera:BurstID="stays"' in made
    assert "<dc:rights>mine</dc:rights>" in made


def test_places_go_where_the_picture_was_turned():
    attributes = 'GPano:FullPanoWidthPixels="9" exif:FocalPlaneXResolution="1/2" dc:creator="Ann"'
    elements = "<mwg-rs:Regions/><Iptc4xmpExt:ImageRegion/><exif:SubjectArea/>"
    made = doubled(packet(attributes, elements), turned=True)
    assert "Ann" in made
    for gone in ("FullPano", "FocalPlane", "mwg-rs:Regions", "ImageRegion", "SubjectArea"):
        assert gone not in made


def test_the_history_is_of_other_pictures():
    inner = (
        '<xmpMM:Pantry><rdf:Bag><rdf:li tiff:ImageWidth="7" hdrgm:a="1"/></rdf:Bag></xmpMM:Pantry>'
    )
    made = doubled(packet('xmpMM:DocumentID="uuid:1"', inner))
    assert 'tiff:ImageWidth="7"' in made
    assert 'xmpMM:DocumentID="uuid:1"' in made
    assert "hdrgm" not in made


def test_text_stays_what_it_is():
    words = "a &lt;b&gt; &amp; &quot;c&quot; \N{SNOWMAN} &#10; d"
    made = doubled(packet(f'dc:title="{words}"', f"<dc:rights>{words}<![CDATA[<&>]]></dc:rights>"))
    before = minidom.parseString(packet(f'dc:title="{words}"', f"<dc:rights>{words}</dc:rights>"))
    after = minidom.parseString(made)
    for document in (before, after):
        (element,) = document.getElementsByTagName("dc:rights")
        text = "".join(node.data for node in element.childNodes if isinstance(node, minidom.Text))
        assert text.startswith('a <b> & "c" \N{SNOWMAN} \n d')
    assert "<?xpacket begin=" in made
    assert made.endswith('<?xpacket end="w"?>')


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"<", b"no XML", b"<a>", b"<a:b/>", b"<a/><b/>", b"\xff\xfe<", b"<a b='1' b='2'/>"),
        b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY a "x"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]><a>&c;</a>',
        b'<?xml version="1.0" encoding="klingon"?><a/>',
        b"<a>" * 200 + b"</a>" * 200,
        b"<a>" + b"<b/>" * 30_000 + b"</a>",
        b"<a>" + b"x" * xmp.LARGEST + b"</a>",
        b'<h:a xmlns:h="http://ns.adobe.com/hdr-gain-map/1.0/"/>',
    ],
)
def test_what_is_malformed_or_excessive_is_left_out(content):
    assert xmp.rewrite(content, (2, 2), (1, 1), turned=False) is None
    assert metadata.clean_metadata(Metadata(xmp=content), 4, 4) == Metadata()
    assert xmp.orientation(content) is None


def test_numbers_that_are_none_are_left_alone():
    for text in ("", "many", "nan", "inf", "1e999", "1/", "/1", "9" * 400, "-", "1e308"):
        made = doubled(packet(f'GPano:CroppedAreaLeftPixels="{text}"'))
        assert "CroppedAreaLeftPixels" in made


def test_zeros_behind_and_utf_16_are_read():
    assert "80" in doubled(packet('tiff:ImageWidth="5"') + bytes(3))
    assert 'ImageWidth="80"' in doubled(packet('tiff:ImageWidth="5"').decode().encode("utf-16"))


def turned(folder: Path, name: str, orientation: str, exif: bytes = b"") -> Path:
    """A file whose XMP says how it lies."""
    path = folder / f"x.{name}"
    content = packet(f'tiff:Orientation="{orientation}"')
    image = Image.fromarray(noise(3))
    options: dict[str, Any] = {"exif": exif} if exif else {}
    if name == "png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", content.decode())
        options["pnginfo"] = info
    elif name == "tiff":
        options["tiffinfo"] = {700: content}
    else:
        options["xmp"] = content
    image.save(path, **({"lossless": True} if name == "webp" else {}), **options)
    return path


@pytest.mark.parametrize("name", ["png", "jpg", "tiff", "webp"])
def test_the_orientation_of_xmp_is_applied_where_exif_is_silent(tmp_path, name):
    path = turned(tmp_path, name, "6")
    frames, picture = open_frames(path), read(path)
    assert (frames.width, frames.height) == (picture.width, picture.height) == (23, 37)
    if name != "jpg":
        assert np.array_equal(picture.samples, np.rot90(noise(3), -1))
    assert b'tiff:Orientation="1"' in (picture.metadata.xmp or b"")
    write(picture, tmp_path / f"out.{name}")
    again = read(tmp_path / f"out.{name}")
    assert (again.width, again.height) == (23, 37)
    with Image.open(path) as image:
        image.load()


@pytest.mark.parametrize("name", ["png", "jpg", "webp"])
def test_exif_has_precedence_over_xmp(tmp_path, name):
    table = Image.Exif()
    table[0x0112] = 1
    picture = read(turned(tmp_path, name, "6", table.tobytes()))
    assert (picture.width, picture.height) == (37, 23)
    table[0x0112] = 3
    picture = read(turned(tmp_path, name, "6", table.tobytes()))
    assert (picture.width, picture.height) == (37, 23)
    if name != "jpg":
        assert np.array_equal(picture.samples, np.rot90(noise(3), 2))


def test_an_animation_is_turned_as_its_xmp_says(tmp_path):
    frames = [Image.fromarray(np.roll(noise(3), k, 0)) for k in range(2)]
    content = packet('tiff:Orientation="8"')
    options = {"save_all": True, "append_images": frames[1:], "lossless": True, "xmp": content}
    frames[0].save(tmp_path / "x.webp", **options)
    opened = open_frames(tmp_path / "x.webp")
    assert (opened.width, opened.height) == (23, 37)
    for k, frame in enumerate(opened):
        assert np.array_equal(frame.samples[..., :3], np.rot90(np.roll(noise(3), k, 0)))


def test_sizes_follow_the_picture_through_files(tmp_path):
    """What a file says is scaled from the size that it had there, whatever comes between."""
    content = packet('GPano:FullPanoWidthPixels="100" GPano:CroppedAreaTopPixels="10"')
    write(Picture(noise(3), metadata=Metadata(xmp=content)), tmp_path / "a.png")
    picture = read(tmp_path / "a.png")
    assert picture.metadata.size == (37, 23)
    larger = Picture(picture.samples.repeat(3, 0).repeat(2, 1), metadata=picture.metadata)
    for name in ("png", "jpg", "tiff", "webp", "avif"):
        write(larger, tmp_path / f"b.{name}")
        made = read(tmp_path / f"b.{name}").metadata.xmp or b""
        assert b'FullPanoWidthPixels="200"' in made
        assert b'CroppedAreaTopPixels="30"' in made


def test_places_in_exif_are_scaled(tmp_path):
    table = Image.Exif()
    table[0x0112] = 1
    inner = table.get_ifd(0x8769)
    inner |= {
        0x9214: (10, 11, 4),
        0xA214: (30_000, 7),
        0xA20E: IFDRational(3001, 2),
        0xA20F: IFDRational(4001, 4),
    }
    path = tmp_path / "x.jpg"
    Image.fromarray(noise(3)).save(path, exif=table.tobytes())
    picture = read(path)
    larger = Picture(picture.samples.repeat(3, 0).repeat(2, 1), metadata=picture.metadata)
    write(larger, tmp_path / "y.png")
    with Image.open(io.BytesIO((tmp_path / "y.png").read_bytes())) as image:
        made = image.getexif().get_ifd(0x8769)
    assert made[0x9214] == (20, 33, 8)
    assert made[0xA214] == (60_000, 21)
    assert made[0xA20E] == pytest.approx(3001)
    assert made[0xA20F] == pytest.approx(3000.75)
    table[0x0112] = 6  # places are of the picture as it lay
    Image.fromarray(noise(3)).save(path, exif=table.tobytes())
    write(read(path), tmp_path / "z.png")
    with Image.open(tmp_path / "z.png") as image:
        assert not {0x9214, 0xA214, 0xA20E, 0xA20F} & set(image.getexif().get_ifd(0x8769))


def test_a_packet_too_long_for_a_jpeg_is_left_out_and_told_of(tmp_path):
    content = packet("", f"<dc:rights>{'x' * 70_000}</dc:rights>")
    picture = Picture(noise(3), metadata=Metadata(xmp=content))
    assert notices(picture, "x.jpg") == (
        "XMP left out, since jpg holds no more than 65,502 bytes of it.",
    )
    write(picture, tmp_path / "x.jpg")
    assert read(tmp_path / "x.jpg").metadata.xmp is None
    for name in ("png", "tiff", "webp", "avif"):
        assert notices(picture, f"x.{name}") == ()
        write(picture, tmp_path / f"x.{name}")
        assert b"x" * 70_000 in (read(tmp_path / f"x.{name}").metadata.xmp or b"")
