"""Writes the tables of `docs/results.md` from the results of evaluations.

    python benchmarks/results.py x2.json x3.json x4.json --json docs/results.json > tables.md

Each file is of `atdsr eval --json`. First a table of light networks, then one of classical ones;
for each scale measured rows come first, those of this project in bold, and then what is published.
A cell that nobody measured is left empty. --json puts the measured figures into one file, which
`atdsr eval --expect` takes.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from atdsr.evaluation import published
from script import read_json, run_script

KEPT = ("model", "set", "scale", "parameters", "psnr_y", "ssim_y")
SETS = ("Set5", "Set14", "B100", "Urban100")
TITLES = {"light": "Lightweight networks", "classical": "Classical networks"}
Cells = dict[str, str]


def figures(psnr: float, ssim: float | None) -> str:
    """A cell."""
    return f"{psnr:.2f}" if ssim is None else f"{psnr:.2f} / {ssim:.4f}"


def measured(rows: list[dict[str, Any]], scale: int) -> dict[tuple[str, str], Cells]:
    """Cells by set, of each method that was measured at a scale, by name and parameters."""
    found: dict[tuple[str, str], Cells] = {}
    for row in rows:
        if row["scale"] == scale:
            count = "" if row["parameters"] is None else f"{row['parameters'] / 1000:,.0f}K"
            name = re.sub(rf"[-_]x{scale}$", "", row["model"])
            found.setdefault((name, count), {})[row["set"]] = figures(row["psnr_y"], row["ssim_y"])
    return found


def papers(scale: int, group: str) -> dict[tuple[str, str], Cells]:
    """The same, of what is published."""
    found: dict[tuple[str, str], Cells] = {}
    for row in published.rows(scale, SETS):
        if row.group == group and row.parameters is not None:
            key = (row.model, f"{row.parameters / 1000:,.0f}K")
            found.setdefault(key, {})[row.dataset] = figures(row.psnr, row.ssim)
    return found


def lines(scale: int, rows: dict[tuple[str, str], Cells], source: str) -> None:
    """Print the rows of one source."""
    for (name, count), cells in rows.items():
        shown = f"**{name}**" if source == "measured" and name.startswith("atd") else name
        values = " | ".join(cells.get(dataset, "") for dataset in SETS)
        print(f"| x{scale} | {shown} | {source} | {count} | {values} |")


def write(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the figures of sets, each once."""
    kept = {(row["scale"], row["model"], row["set"]): {k: row[k] for k in KEPT} for row in rows}
    entries = ",\n".join(f"  {json.dumps(kept[key])}" for key in sorted(kept))
    path.write_text(f'{{\n "format": 1,\n "rows": [\n{entries}\n ]\n}}\n', "utf-8")


def main() -> None:
    """Print the tables, and write the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    contents = [read_json(path, ["rows"], "`atdsr eval --json`") for path in arguments.files]
    rows = [row for content in contents for row in content["rows"]]
    if arguments.json is not None:
        write(rows, arguments.json)
    scales = sorted({row["scale"] for row in rows})
    for group, title in TITLES.items():
        print(f"\n**{title}**, PSNR-Y / SSIM-Y\n")
        print(f"| scale | method | figures | parameters | {' | '.join(SETS)} |")
        print(f"|{'---|' * (4 + len(SETS))}")
        for scale in scales:
            mine = measured(rows, scale)
            if group == "classical":  # nothing but bicubic has been measured there
                mine = {key: cells for key, cells in mine.items() if key[0] == "bicubic"}
            lines(scale, mine, "measured")
            lines(scale, papers(scale, group), "published")


if __name__ == "__main__":
    run_script(main)
