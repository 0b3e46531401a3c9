"""A run as one web page that needs nothing beside it: figures, curves, strips."""

from collections.abc import Iterator
from importlib.resources import files as resources
from pathlib import Path

from atdsr.base import escaping, files, units
from atdsr.reports import pages
from atdsr.reports.runs import drawing
from atdsr.reports.runs.reading import Run
from atdsr.reports.runs.summary import facts
from atdsr.training.events import Validated
from atdsr.training.validation import FOLDER

_RECIPE = "recipe.yaml"
_LONGEST_RECIPE = 2**18  # characters that are shown
_MOST_TOLD = 1_000  # lines out of the ordinary that are shown, the last ones
_LARGEST_STRIPS = 2**26  # bytes of a sheet that is shown


def write(run: Run, path: Path, *, overwrite: bool) -> None:
    """Write the page of a run.

    Raises:
        RunsError: matplotlib is not installed.
        FileError: the file cannot be written.
    """
    curves = drawing.svgs(run)
    with (
        files.atomic_write(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", errors="xmlcharrefreplace") as file,
    ):
        for part in _parts(run, curves):
            file.write(part)


def _parts(run: Run, curves: dict[str, str]) -> Iterator[str]:
    """The page from top to bottom."""
    style = (resources("atdsr.reports.runs") / "runs.css").read_text("utf-8")
    yield pages.head(run.name, "A training run", facts(run), styles=style)
    if curves:
        yield '<section id="curves"><h2>Curves</h2><div class="plots">\n'
        for name, svg in curves.items():
            yield f"<figure><figcaption><b>{escaping.html(name)}</b></figcaption>{svg}</figure>\n"
        yield "</div></section>\n"
    if run.validations:
        yield f'<section id="validations"><h2>Validations</h2>{_table(run)}{_NOTE}</section>\n'
    yield from _strips(run)
    if run.told:
        lines = "".join(
            f"<li><b>step {told.step:,}</b>{escaping.html(told.text)}</li>"
            for told in run.told[-_MOST_TOLD:]
        )
        yield f'<section id="told"><h2>Out of the ordinary</h2><ul class="told">{lines}</ul>'
        yield "</section>\n"
    recipe = run.folder / _RECIPE
    if recipe.is_file():
        with recipe.open(encoding="utf-8", errors="replace") as file:
            text = escaping.html_lines(file.read(_LONGEST_RECIPE))
        yield f'<section id="recipe"><h2>Recipe</h2><pre><code>{text}</code></pre></section>\n'
    yield pages.end()


def _table(run: Run) -> str:
    """A line for each validation, the best figures marked; bicubic above them."""
    sets = run.sets
    best = {name: max(_figures(run, name), default=None) for name in sets}
    best_mean = max(each.mean_psnr for each in run.validations)
    heads = "".join(f'<th scope="colgroup" colspan="2">{escaping.html(name)}</th>' for name in sets)
    kinds = '<th scope="col">PSNR</th><th scope="col">SSIM</th>' * len(sets)
    several = len(sets) > 1
    mean_head = '<th scope="col" rowspan="2">mean PSNR</th>' if several else ""
    lines = [_baseline(run, several=several)]
    for each in run.validations:
        cells = "".join(
            f"{_cell(units.decibels(psnr), is_best=psnr == best[name])}<td>{_ssim(each, name)}</td>"
            for name in sets
            for psnr in [each.psnr.get(name, float("nan"))]
        )
        mean = each.mean_psnr
        ending = _cell(units.decibels(mean), is_best=mean == best_mean) if several else ""
        lines.append(f'<tr><th class="first" scope="row">{each.step:,}</th>{cells}{ending}</tr>')
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Validations"><table><thead>'
        f'<tr><th class="first" scope="col" rowspan="2">step</th>{heads}{mean_head}</tr>'
        f"<tr>{kinds}</tr></thead>\n<tbody>{''.join(lines)}</tbody></table></div>\n"
    )


def _figures(run: Run, name: str) -> list[float]:
    """PSNR on a set at each validation that has it."""
    values = (each.psnr.get(name) for each in run.validations)
    return [value for value in values if value is not None and value == value]


def _baseline(run: Run, *, several: bool) -> str:
    """The table's line of bicubic."""
    bicubic = run.validations[-1].bicubic
    cells = "".join(
        f"<td>{units.decibels(bicubic.get(name, float('nan')))}</td><td></td>" for name in run.sets
    )
    ending = "<td></td>" if several else ""
    return f'<tr class="baseline"><th class="first" scope="row">bicubic</th>{cells}{ending}</tr>'


def _cell(text: str, *, is_best: bool) -> str:
    return f'<td class="best">{text}</td>' if is_best else f"<td>{text}</td>"


def _ssim(validated: Validated, name: str) -> str:
    value = validated.ssim.get(name, float("nan"))
    return f"{value:.4f}" if value == value else units.UNKNOWN


def _strips(run: Run) -> Iterator[str]:
    """The sheets of the last, the best and the first validation."""
    if not run.validations:
        return
    named: dict[int, list[str]] = {}
    best = run.best
    for name, each in (
        ("last", run.validations[-1]),
        ("best", best),
        ("first", run.validations[0]),
    ):
        if each is not None:
            named.setdefault(each.step, []).append(name)
    shown = {step: run.folder / FOLDER / f"{step:08}.png" for step in named}
    shown = {
        step: path
        for step, path in shown.items()
        if path.is_file() and path.stat().st_size <= _LARGEST_STRIPS
    }
    if not shown:
        return
    yield '<section id="strips"><h2>Strips</h2>\n'
    for number, (step, path) in enumerate(shown.items()):
        address = pages.data_address(path.read_bytes(), "image/png")
        words_ = " and ".join(named[step])
        yield (
            f"<details{'' if number else ' open'}><summary><b>Step {step:,}</b>, {words_}</summary>"
            f'<div class="strip"><img src="{address}" alt="test pictures at step {step:,}">'
            "</div></details>\n"
        )
    yield "</section>\n"


_NOTE = """<p class="note">PSNR in dB and SSIM on Y, of the averaged weights, as
<code>atdsr eval</code> takes them; the best of a column is marked.</p>"""
