"""XMP in PNG files, where other programs look for it; libvips hides it in a compressed chunk."""

import struct
import zlib
from pathlib import Path

_HEAD = 8 + 25  # the signature and the first chunk, which says size and kind
_STEP = 2**22


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of PNG."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def with_xmp(data: bytes, xmp: bytes) -> bytes:
    """A PNG file with XMP."""
    return data[:_HEAD] + _packet(xmp) + data[_HEAD:]


def add_xmp(path: Path, xmp: bytes) -> None:
    """Give a PNG file XMP, moving what is behind it on piece by piece.

    Raises:
        OSError: the disk refuses.
    """
    packet = _packet(xmp)
    with path.open("rb+") as file:
        end = file.seek(0, 2)
        while end > _HEAD:
            start = max(_HEAD, end - _STEP)
            file.seek(start)
            part = file.read(end - start)
            file.seek(start + len(packet))
            file.write(part)
            end = start
        file.seek(_HEAD)
        file.write(packet)


def _packet(xmp: bytes) -> bytes:
    """XMP as text that is not compressed and of no language (XMP, part 3, section 1.1.5)."""
    return chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp)
