"""Tell what kind of file was given as weights, from its first bytes."""

import json
import re
import struct
import zipfile
from pathlib import Path

HEAD_BYTES = 1024
"""How many bytes of the beginning of a file are looked at."""

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
"""(first bytes, kind of file, advice)."""

_HTML = re.compile(rb"<(!doctype\s+html|html|head|body|script|title)\b", re.IGNORECASE)


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins like safetensors: the length of a JSON header, then the header."""
    if len(head) < 9 or head[8:9] != b"{":
        return False
    return struct.unpack("<Q", head[:8])[0] <= size - 8


def is_pytorch(head: bytes) -> bool:
    """Whether a file begins like one that PyTorch writes: a ZIP archive, or a pickle."""
    is_pickle = head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")
    return is_pickle or head.startswith(b"PK\x03\x04")


def rejection(head: bytes, size: int) -> str | None:
    """Return why a file cannot hold weights, or None if it may.

    Args:
        head: The first `HEAD_BYTES` bytes of the file.
        size: Size of the file in bytes.

    Returns:
        A sentence that lacks its first words, the name of the file.
    """
    if not size:
        return f"is empty; {_FETCH}."
    if is_safetensors(head, size):
        return None  # even if the length of its header looks like another magic number
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, kind, advice in _MAGIC:
        if head.startswith(magic):
            return f"is {kind}, not weights; {advice}."
    if head[257:262] == b"ustar":
        return f"is a tar archive, not weights; {_UNPACK}."
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return f"is a WebP picture, not weights; {_NO_WEIGHTS}."
    if text.startswith(b"<"):
        kind = "an HTML page" if _HTML.search(text) else "an XML text"
        return f"is {kind}, not weights; {_FETCH}."
    if is_pytorch(head) or not _is_text(head):
        return None
    if text.startswith((b"{", b"[")) and (size > HEAD_BYTES or _is_json(text)):
        return f"is a JSON text, not weights; {_FETCH}."
    return f"is a text, not weights; {_NO_WEIGHTS}."


def archive_rejection(path: Path) -> str | None:
    """Return why a ZIP archive is not one that PyTorch has written, or None if it may be.

    Nothing is unpacked. PyTorch does not compress, so the entries must not be larger than the
    file.

    Raises:
        zipfile.BadZipFile, OSError: The file cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    base_names = {name.rpartition("/")[2] for name in names}
    if "data.pkl" not in base_names:
        if any(name.endswith(".npy") for name in names):
            return f"is a NumPy archive, not weights; {_NO_WEIGHTS}."
        return f"is a ZIP archive, not weights; {_UNPACK}."
    if "constants.pkl" in base_names:
        return "is a TorchScript program, not weights; save the model's state_dict and name that."
    has_duplicates = len(set(names)) < len(names) or len(pickle_entries(names)) != 1
    unpacked_size = sum(entry.file_size for entry in entries)
    if has_duplicates or unpacked_size > path.stat().st_size:
        return (
            "is a ZIP archive that PyTorch has not written: its entries are compressed or "
            "occur twice; it was not loaded."
        )
    return None


def pickle_entries(names: list[str]) -> list[str]:
    """Return the entries of PyTorch's archive that hold a pickle: one in a sound archive."""
    return [name for name in names if name.rpartition("/")[2] == "data.pkl"]


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else the end of `head` cuts a character
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character.isspace() for character in text)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
