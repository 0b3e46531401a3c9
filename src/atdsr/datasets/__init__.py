"""Packed training sets: made, checked, cut into crops, and degraded.

A packed set keeps the pixels of all pictures of a folder, HR and LR, one after another in files
that are mapped into memory, and describes them in its index. `docs/data.md` is the page for users.
"""

from atdsr.datasets.crops import Crops, as_floats, gray_from_rgb
from atdsr.datasets.packed_set import (
    SIDE_MULTIPLE,
    CheckResult,
    DataError,
    PackedSet,
    check,
)
from atdsr.datasets.packing import find_unpacked, pack, prepare
from atdsr.datasets.source_images import PackConfig, Teacher

__all__ = [
    "SIDE_MULTIPLE",
    "CheckResult",
    "Crops",
    "DataError",
    "PackConfig",
    "PackedSet",
    "Teacher",
    "as_floats",
    "check",
    "find_unpacked",
    "gray_from_rgb",
    "pack",
    "prepare",
]
