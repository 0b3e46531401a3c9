"""Shards: the part of a command's pictures that one of several processes makes.

The processes do not talk to each other. Each knows its number and how many there are, and the hash
of a picture's name says whose it is.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from atdsr.base.option_values import OptionError

_TASK_ID = "SLURM_ARRAY_TASK_ID"
_TASK_COUNT = "SLURM_ARRAY_TASK_COUNT"
_TASK_MIN = "SLURM_ARRAY_TASK_MIN"
_TASK_MAX = "SLURM_ARRAY_TASK_MAX"
_TASK_STEP = "SLURM_ARRAY_TASK_STEP"
_INDEX = "JOB_COMPLETION_INDEX"
_NUMBER = r"[1-9][0-9]{0,8}"


@dataclass(frozen=True)
class Shard:
    """One of several parts, which share no picture and are all pictures together.

    Attributes:
        number: Which part, from 1 to `total`.
        total: How many parts there are.
    """

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Self:
        """Return the shard that a text names: "3/64", "auto" or "auto/64".

        With "auto", a scheduler's environment variables tell the number: those of a task of a SLURM
        array, or of a pod of an indexed Kubernetes Job. Kubernetes does not tell the total, so
        "auto/64" does. Without "auto", no variable is looked at.

        Args:
            text: What a person writes.
            environment: The environment variables.

        Raises:
            OptionError: It names none, or the variables do not tell it.
        """
        if match := re.fullmatch(rf"({_NUMBER})/({_NUMBER})", text):
            number, total = map(int, match.groups())
            if number > total:
                raise OptionError(
                    f"{text!r} is not one of the shards 1/{total} to {total}/{total}."
                )
            return cls(number, total)
        match = re.fullmatch(rf"auto(?:/({_NUMBER}))?", text)
        if match is None:
            raise OptionError(f"{text!r} is not like 3/64, auto or auto/64.")
        total = int(match[1]) if match[1] else None
        has_task, has_index = bool(environment.get(_TASK_ID)), bool(environment.get(_INDEX))
        if has_task and has_index:
            raise OptionError(f"{_TASK_ID} and {_INDEX} are both set; write K/N instead of {text}.")
        if has_task:
            return cls._of_task(environment, total)
        if has_index:
            return cls._of_pod(environment, total)
        raise OptionError(
            f"{text} needs a SLURM array or an indexed Kubernetes Job, and neither {_TASK_ID} nor "
            f"{_INDEX} is set; write K/N instead."
        )

    @classmethod
    def _of_task(cls, environment: Mapping[str, str], total: int | None) -> Self:
        """Return the shard of a task of a SLURM array, whose ids may start anywhere."""
        task, count = _read(environment, _TASK_ID), _read(environment, _TASK_COUNT)
        if total not in (None, count):  # such as those tasks of an array that are sent again
            raise OptionError(
                f"auto/{total} is for an array of {total} tasks, and this one has {count} by "
                f"{_TASK_COUNT}; write K/{total} instead."
            )
        first, last = _read(environment, _TASK_MIN), _read(environment, _TASK_MAX)
        step = _read(environment, _TASK_STEP) if environment.get(_TASK_STEP) else 1
        # a list such as --array=1,5,6 does not tell which of its tasks this one is
        places = range(first, last + 1, max(1, step))
        if len(places) != count or task not in places:
            raise OptionError(
                f"the {count} tasks of this SLURM array are not evenly spaced from {first} to "
                f"{last}, so that auto cannot number them; write K/N instead."
            )
        return cls(places.index(task) + 1, count)

    @classmethod
    def _of_pod(cls, environment: Mapping[str, str], total: int | None) -> Self:
        """Return the shard of a pod of an indexed Kubernetes Job, whose indexes start at 0."""
        index = _read(environment, _INDEX)
        if total is None:
            raise OptionError(
                "Kubernetes does not tell a pod how many completions its Job has; write auto/N "
                "with that number."
            )
        if index >= total:
            raise OptionError(
                f"{_INDEX} is {index}, and auto/{total} is for the indexes 0 to {total - 1}; let N "
                "be the completions of the Job."
            )
        return cls(index + 1, total)

    def holds(self, name: str) -> bool:
        """Return whether a picture is in this part.

        The first 8 bytes of the SHA-256 of its name, as a big-endian number, are divided by
        `total`; the remainder is `number - 1`. So it depends on nothing but the name.

        Args:
            name: Its path relative to the input, with `/` between folders.
        """
        digest = hashlib.sha256(os.fsencode(name)).digest()
        return int.from_bytes(digest[:8], "big") % self.total == self.number - 1


def _read(environment: Mapping[str, str], variable: str) -> int:
    """Return the number in an environment variable.

    Raises:
        OptionError: There is none.
    """
    value = environment.get(variable, "")
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise OptionError(
            f"the environment variable {variable} is {value!r} and no number; write K/N instead "
            "of auto."
        )
    return int(value)
