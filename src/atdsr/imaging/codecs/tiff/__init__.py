"""TIFF, read and written; libtiff behind libvips only decompresses strips."""

from atdsr.imaging.codecs.tiff.decoding import open_file
from atdsr.imaging.codecs.tiff.writing import write, write_pages

__all__ = ["open_file", "write", "write_pages"]
