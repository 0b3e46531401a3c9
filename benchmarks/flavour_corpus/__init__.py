"""One picture file of each kind that docs/pictures.md promises to read, with its content.

The files are written by Pillow, libvips, imagecodecs and libheif, and bit by bit where none of
them can, so that the right samples are known without asking the reader that is tried.
"""

import functools

from flavour_corpus import boxed, jpegs, others, pngs, tiffs
from flavour_corpus.basics import Flavour

_MODULES = (pngs, tiffs, jpegs, boxed, others)


@functools.cache
def flavours() -> tuple[Flavour, ...]:
    """All of them."""
    return tuple(flavour for module in _MODULES for make in module.FORMATS for flavour in make())
