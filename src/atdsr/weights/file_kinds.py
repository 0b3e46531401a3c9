"""What a file is that somebody takes for weights, by how it begins."""

import json
import re
import struct
import zipfile
from pathlib import Path

HEAD = 1024
"""Bytes at the beginning of a file that tell what it is."""

_FETCH = "the download probably failed, so fetch the file itself again"
_UNPACK = "unpack it and name the file of weights inside"
_NO_WEIGHTS = "name a .safetensors or .pth file of an ATD"

_MAGIC = (
    (b"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull`, or fetch the file"),
    (b"\xff\xd8\xff", "a JPEG picture", _NO_WEIGHTS),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture", _NO_WEIGHTS),
    (b"GIF8", "a GIF picture", _NO_WEIGHTS),
    (b"BM", "a BMP picture", _NO_WEIGHTS),
    (b"II*\0", "a TIFF picture", _NO_WEIGHTS),
    (b"MM\0*", "a TIFF picture", _NO_WEIGHTS),
    (b"%PDF-", "a PDF document", _NO_WEIGHTS),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _NO_WEIGHTS),
    (b"\x93NUMPY", "a NumPy array", _NO_WEIGHTS),
    (b"GGUF", "a GGUF file", _NO_WEIGHTS),
    (b"\x7fELF", "a program", _NO_WEIGHTS),
    (b"MZ", "a program", _NO_WEIGHTS),
)
"""(first bytes, what has them, what to do)."""

_HTML = re.compile(rb"<(!doctype\s+html|html|head|body|script|title)\b", re.IGNORECASE)


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins like safetensors: the length of a JSON header, then that."""
    if len(head) < 9 or head[8:9] != b"{":
        return False
    return struct.unpack("<Q", head[:8])[0] <= size - 8


def is_pytorch(head: bytes) -> bool:
    """Whether a file begins like one of PyTorch's: a ZIP archive, or a pickle."""
    is_pickle = head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")
    return is_pickle or head.startswith(b"PK\x03\x04")


def strange(head: bytes, size: int) -> str | None:
    """What to say of a file that is something else; None if it may hold weights.

    Returns:
        A sentence without its beginning, the file's name.
    """
    if not size:
        return f"is empty; {_FETCH}."
    if is_safetensors(head, size):
        return None  # whatever the number is that it begins with
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what, advice in _MAGIC:
        if head.startswith(magic):
            return f"is {what}, not weights; {advice}."
    if head[257:262] == b"ustar":
        return f"is a tar archive, not weights; {_UNPACK}."
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return f"is a WebP picture, not weights; {_NO_WEIGHTS}."
    if text.startswith(b"<"):
        what = "an HTML page" if _HTML.search(text) else "an XML text"
        return f"is {what}, not weights; {_FETCH}."
    if is_pytorch(head) or not _is_text(head):
        return None
    if text.startswith((b"{", b"[")) and _is_json(text, whole=size <= HEAD):
        return f"is a JSON text, not weights; {_FETCH}."
    return f"is a text, not weights; {_NO_WEIGHTS}."


def strange_archive(path: Path) -> str | None:
    """What to say of a ZIP archive that PyTorch has not made, or that does not add up.

    Nothing is unpacked. PyTorch compresses nothing, so that what is inside takes no more room
    than the file.

    Raises:
        zipfile.BadZipFile, OSError: it cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    kinds = {name.rpartition("/")[2] for name in names}
    if "data.pkl" not in kinds:
        what = "a NumPy archive" if any(n.endswith(".npy") for n in names) else "a ZIP archive"
        return f"is {what}, not weights; {_UNPACK if what != 'a NumPy archive' else _NO_WEIGHTS}."
    if "constants.pkl" in kinds:
        return "is a TorchScript program, not weights; save the model's state_dict and name that."
    is_twice = len(set(names)) < len(names) or len(pickles(names)) != 1
    inside = sum(entry.file_size for entry in entries)
    if is_twice or inside > path.stat().st_size:
        return (
            "is a ZIP archive that PyTorch has not made: what is inside is compressed, or there "
            "twice; it was not loaded."
        )
    return None


def pickles(names: list[str]) -> list[str]:
    """Which entries of PyTorch's archive tell what it holds: one, if all is well."""
    return [name for name in names if name.rpartition("/")[2] == "data.pkl"]


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character that was cut
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character.isspace() for character in text)


def _is_json(text: bytes, *, whole: bool) -> bool:
    if not whole:
        return True
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
