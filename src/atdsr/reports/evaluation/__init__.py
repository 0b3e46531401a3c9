"""An evaluation as one web page that needs nothing beside it: table, plots, pictures.

The page is written while it is made, a picture at a time, so that memory stays small however many
pictures there are. It asks for nothing from the network, and what comes from file names is text.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from atdsr.base import files
from atdsr.evaluation import Evaluation
from atdsr.evaluation.testsets import TestSet
from atdsr.reports.evaluation import page
from atdsr.reports.evaluation.gallery import ReportError

__all__ = ["ReportError", "write"]


def write(
    evaluation: Evaluation,
    sets: Sequence[TestSet],
    images: Path,
    path: Path,
    *,
    overwrite: bool,
    progress: Callable[[float], None] = lambda _: None,
) -> None:
    """Write the report of an evaluation as an HTML file.

    Args:
        evaluation: what was measured.
        sets: the test sets of its rows, whose pictures are shown beside the results; a set that
            is not given has its figures only.
        images: where the enlarged pictures are, by `evaluation.image_path`.
        path: the file to write.
        overwrite: whether an existing file may be replaced.
        progress: called with the part that is done, from 0 to 1, after each picture.

    Raises:
        ReportError: an enlarged picture is missing, or is not of the size it should be.
        TestSetError, PictureError: a picture cannot be read.
        FileError: the file cannot be written.
    """
    with (
        files.atomic_write(path, overwrite=overwrite) as temporary,
        # A file name that is not text has surrogates, which UTF-8 has no place for.
        temporary.open("w", encoding="utf-8", errors="xmlcharrefreplace") as file,
    ):
        for part in page.parts(evaluation, sets, images, progress):
            file.write(part)
