"""The configuration of a network for tests and for trials of the benchmarks."""

from atdsr.network.config import ATDConfig

TINY = ATDConfig(
    scale=2,
    width=12,
    depths=(2, 2),
    heads=(2, 2),
    category_size=256,  # what spandrel takes for every network it does not know
    dictionary_size=8,
    reduced_width=4,
    ffn_kernel=3,
    ffn_ratio=1.0,
    head="pixelshuffledirect",
)
"""Small enough for a test, and of a shape that spandrel reads as well."""
