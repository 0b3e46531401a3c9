"""Figures that papers have published, to stand beside measured ones."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

GROUPS = ("light", "classical")
"""The two tables: networks of about a million parameters, and of ten million and more."""


@dataclass(frozen=True)
class PublishedRow:
    """One method on one set, as its paper prints it.

    Attributes:
        model: name of the method.
        dataset: name of the set.
        scale: how many times the sides grow.
        parameters: how many, as printed: rounded.
        group: "light" or "classical": the table it stands in.
        psnr_y: in dB, to two decimals.
        ssim_y: to four decimals; None where the paper has none.
        exact_psnr_y: in dB, to four decimals, from the log of the official weights, where known.
    """

    model: str
    dataset: str
    scale: int
    parameters: int
    group: str
    psnr_y: float
    ssim_y: float | None = None
    exact_psnr_y: float | None = None


def rows(scale: int, datasets: Iterable[str]) -> tuple[PublishedRow, ...]:
    """The published figures for a scale on the sets of these names.

    Returns:
        By table (light, then classical), then in its order, then by set in the order given. A
        set that no paper used has none; BSD100 is B100.
    """
    content = json.loads((files("atdsr") / "evaluation" / "published.json").read_text("utf-8"))
    wanted = list(dict.fromkeys(datasets))
    return tuple(
        _row(entry, group, dataset, content["exact_psnr"])
        for group in GROUPS
        for entry in content[group]
        if entry["scale"] == scale
        for dataset in wanted
        if entry["psnr"].get(_in_tables(dataset)) is not None
    )


def _row(
    entry: dict[str, Any], group: str, dataset: str, exact: dict[str, dict[str, dict[str, float]]]
) -> PublishedRow:
    scale = entry["scale"]
    return PublishedRow(
        model=entry["method"],
        dataset=dataset,
        scale=scale,
        parameters=_parameters(entry["parameters"]),
        group=group,
        psnr_y=entry["psnr"][_in_tables(dataset)],
        ssim_y=entry["ssim"].get(_in_tables(dataset)),
        exact_psnr_y=exact.get(entry["method"], {}).get(f"x{scale}", {}).get(_in_tables(dataset)),
    )


def _in_tables(dataset: str) -> str:
    return "B100" if dataset == "BSD100" else dataset


def _parameters(text: str) -> int:
    """The number in "753K" or "20.1M"."""
    return round(float(text[:-1]) * {"K": 10**3, "M": 10**6}[text[-1]])
