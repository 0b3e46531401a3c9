"""Figures that papers have published, for comparison with measured ones."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

GROUPS = ("light", "classical", "restoring")
"""The tables: enlarging by about a million parameters, by ten million and more, and restoring."""


@dataclass(frozen=True)
class PublishedRow:
    """One method on one set, as its paper prints it.

    Attributes:
        model: Name of the method.
        dataset: Name of the test set, with the damage where pictures are restored.
        scale: How many times the sides grow; 1 where pictures are restored.
        parameters: Number of parameters as printed, that is, rounded; None if it is not.
        group: Table of the paper, "light", "classical" or "restoring".
        psnr: PSNR in dB, to two decimals; on Y where pictures are enlarged.
        ssim: SSIM, likewise, to four decimals; None if the paper has none.
        exact_psnr_y: PSNR in dB to four decimals, from the log of the official weights, if known.
    """

    model: str
    dataset: str
    scale: int
    parameters: int | None
    group: str
    psnr: float
    ssim: float | None = None
    exact_psnr_y: float | None = None


def rows(scale: int, datasets: Iterable[str]) -> tuple[PublishedRow, ...]:
    """Return the published figures for a scale on the sets of these names.

    At scale 1, a name is that of a set to restore, such as "CBSD68 noise25".

    Returns:
        Rows by table (`GROUPS`), then in its order, then by set in the order given.
        A set that no paper used has no row; BSD100 is B100.
    """
    content = json.loads((files("atdsr") / "evaluation" / "published.json").read_text("utf-8"))
    names = list(dict.fromkeys(datasets))
    return tuple(
        _row(entry, group, dataset, content["exact_psnr"])
        for group in GROUPS
        for entry in content[group]
        if entry["scale"] == scale
        for dataset in names
        if entry["psnr"].get(standard_name(dataset)) is not None
    )


def _row(
    entry: dict[str, Any], group: str, dataset: str, exact: dict[str, dict[str, dict[str, float]]]
) -> PublishedRow:
    scale = entry["scale"]
    return PublishedRow(
        model=entry["method"],
        dataset=dataset,
        scale=scale,
        parameters=_parameters(entry["parameters"]) if "parameters" in entry else None,
        group=group,
        psnr=entry["psnr"][standard_name(dataset)],
        ssim=entry.get("ssim", {}).get(standard_name(dataset)),
        exact_psnr_y=exact.get(entry["method"], {})
        .get(f"x{scale}", {})
        .get(standard_name(dataset)),
    )


def standard_name(dataset: str) -> str:
    """Return the name that a test set has in the tables here: BSD100 is B100."""
    return "B100" if dataset == "BSD100" else dataset


def _parameters(text: str) -> int:
    """Return the number that "753K" or "20.1M" stands for."""
    return round(float(text[:-1]) * {"K": 10**3, "M": 10**6}[text[-1]])
