"""Sections of configuration files: frozen, with known keys only, and numbers that are numbers."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def reject_bool(value: Any) -> Any:
    """Keep true and false from passing for numbers.

    Raises:
        ValueError: The value is one of them.
    """
    if isinstance(value, bool):
        raise ValueError("it must be a number")
    return value


Number = BeforeValidator(reject_bool)
"""Lets YAML's true and false not pass for 1 and 0."""
PositiveFloat = Annotated[float, Field(gt=0), Number]
"""A number above 0."""


class ConfigSection(BaseModel):
    """A section of a recipe. It is frozen and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
