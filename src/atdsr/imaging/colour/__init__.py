"""Colour: code points, ICC profiles, and conversion to sRGB.

A picture without a profile or code points is sRGB.
"""

from atdsr.imaging.colour.code_points import (
    PRIMARIES,
    REFERENCE_WHITE,
    SRGB,
    Chromaticities,
    is_hdr,
    name_of,
    resolve,
)
from atdsr.imaging.colour.profiles import (
    adobe_rgb,
    build_profile,
    icc_from_code_points,
    icc_from_curves,
    icc_from_gamma,
    profile_of,
)
from atdsr.imaging.colour.srgb import (
    full_range,
    is_srgb,
    profile_name,
    rgb_from_gray_profile,
    to_srgb,
)

__all__ = [
    "PRIMARIES",
    "REFERENCE_WHITE",
    "SRGB",
    "Chromaticities",
    "adobe_rgb",
    "build_profile",
    "full_range",
    "icc_from_code_points",
    "icc_from_curves",
    "icc_from_gamma",
    "is_hdr",
    "is_srgb",
    "name_of",
    "profile_name",
    "profile_of",
    "resolve",
    "rgb_from_gray_profile",
    "to_srgb",
]
