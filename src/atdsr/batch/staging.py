"""Temporary files in the place of objects in stores, while a picture is made.

No other module that reads or writes pictures has to know of stores: an object is read into a file
first, and what is written becomes an object when it is complete, or not at all.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atdsr import imaging
from atdsr.base.errors import AtdsrError
from atdsr.base.files import kept
from atdsr.base.stores import Location, ObjectPath, download, list_objects, upload
from atdsr.batch.config import BatchError
from atdsr.batch.on_file import Names
from atdsr.batch.planning import BatchItem, LocalItem, Plan

MOST_BYTES = 2**32
"""Size in bytes of the largest picture that is read from a store."""


class Stage:
    """The place where the objects of a plan are files.

    Args:
        plan: The plan.
        writes: Whether what is made becomes an object.
    """

    def __init__(self, plan: Plan, *, writes: bool = True) -> None:
        self._plan, self._writes = plan, writes
        self._existing: Names | None = None

    @contextmanager
    def files_for(self, item: BatchItem) -> Iterator[LocalItem]:
        """Yield a picture with files in the place of objects; write the object at the end.

        Nothing is written if the block raises an error or makes no file.

        Args:
            item: A picture of the plan. One whose files are on disk is yielded as it is.

        Raises:
            ExistsError: The object to write exists and is kept.
            BatchError, StoreError: An object cannot be read or written. Errors from inside of the
                block are raised as this, with objects in the place of files.
            OSError: The temporary folder cannot be written.
        """
        source, target = item.source, item.target
        if not isinstance(source, ObjectPath) and not isinstance(target, ObjectPath):
            yield LocalItem(source, target, item.origin)
            return
        if not self._plan.config.overwrite and self.exists(target):
            raise kept(target)
        with tempfile.TemporaryDirectory(prefix="atdsr-", ignore_cleanup_errors=True) as folder:
            here = LocalItem(
                _stand_in(source, Path(folder, "source")),
                _stand_in(target, Path(folder, "target")),
                item.origin,
            )
            try:
                if isinstance(source, ObjectPath):
                    download(source, here.source, most_bytes=MOST_BYTES, is_wanted=_is_picture)
                yield here
                if self._writes and isinstance(target, ObjectPath):
                    upload(here.target, target, overwrite=self._plan.config.overwrite)
            except AtdsrError as error:
                sentence = str(error).replace(str(here.source), str(source))
                sentence = sentence.replace(str(here.target), str(target))
                if sentence == str(error):
                    raise
                raise BatchError(sentence) from None

    def exists(self, path: Location) -> bool:
        """Return whether an output exists; for a folder of outputs, one list tells for all."""
        folder = self._plan.out
        if not isinstance(folder, ObjectPath) or not isinstance(path, ObjectPath):
            return path.is_file()
        if not self._plan.several or folder not in path.parents:
            return path.is_file()
        if self._existing is None:
            self._existing = Names()
            for key in list_objects(folder):
                self._existing.add(key)
        return (path.key,) in self._existing


def _stand_in(path: Location, name: Path) -> Path:
    """Return the path of a file that stands for an object; one on disk stands for itself."""
    return name.with_suffix(path.suffix) if isinstance(path, ObjectPath) else path


def _is_picture(start: bytes) -> bool:
    return imaging.recognise(start) is not None
