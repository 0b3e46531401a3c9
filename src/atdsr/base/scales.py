"""The scales that networks enlarge by.

Whatever checks or lists scales reads them here: configurations, recipes, packed sets, options.
"""

SCALES = (2, 3, 4)
"""How many times the sides of a picture can grow."""

RESTORING = 1
"""The scale of networks that restore pictures and do not enlarge them."""


def list_scales(conjunction: str = "or") -> str:
    """Return the scales as words of a sentence, such as "2, 3 or 4"."""
    *others, last = map(str, SCALES)
    return f"{', '.join(others)} {conjunction} {last}"
