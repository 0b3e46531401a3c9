"""What Schemathesis sends as a picture: whole ones, damaged ones, and none at all."""

import importlib
from typing import Any

import numpy as np
from hypothesis import strategies as st

from helpers.pictures import encoded, png

schemathesis: Any = importlib.import_module("schemathesis")  # not in the extra `test`

_WHOLE = [
    png(np.zeros((height, width, channels), np.uint8))
    for height, width, channels in ((1, 1, 3), (5, 7, 1), (16, 9, 4))
]
_FORMATS = [encoded(name) for name in ("jpg", "webp", "gif", "tiff", "bmp")]


def _damaged(picture: bytes, place: int, piece: bytes) -> bytes:
    place %= len(picture)
    return picture[:place] + piece + picture[place + len(piece) :]


PICTURES = st.one_of(
    st.sampled_from(_WHOLE),
    st.sampled_from(_FORMATS),
    st.builds(_damaged, st.sampled_from(_WHOLE + _FORMATS), st.integers(0, 2**20), st.binary()),
    st.binary(max_size=200),
)

schemathesis.openapi.media_type("application/octet-stream", PICTURES)
