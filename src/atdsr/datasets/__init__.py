"""Packed training sets: made, checked, and cut into crops.

A packed set keeps the pixels of all pictures of a folder, HR and LR, one after another in files
that are mapped into memory, and says in its index what they are. `docs/data.md` is the page for
users.
"""

from atdsr.datasets.checking import Checked, check
from atdsr.datasets.crops import Crops
from atdsr.datasets.index import SIDE_MULTIPLE, DataError, Entry, Index
from atdsr.datasets.packed import PackedSet
from atdsr.datasets.packing import pack
from atdsr.datasets.preparing import prepare

__all__ = [
    "SIDE_MULTIPLE",
    "Checked",
    "Crops",
    "DataError",
    "Entry",
    "Index",
    "PackedSet",
    "check",
    "pack",
    "prepare",
]
