"""HTML pages: one file each, for light and dark screens, that asks the network for nothing.

The templates are in `templates/`; `base.html` is the frame of all of them. Its policy lets a page
run its one script and fetch nothing. A page is written while it is rendered: a template that loops
over a generator of pictures holds one of them at a time.
"""

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from atdsr.base import files, units
from atdsr.base.escaping import printable

_PACKAGE = "atdsr.reports"


def write(path: Path, template: str, *, overwrite: bool, **context: Any) -> None:
    """Write a page to a file; see `render`.

    Raises:
        FileError: The file cannot be written.
    """
    with (
        files.atomic_write(path, overwrite=overwrite) as temporary,
        temporary.open("wb") as file,
    ):
        file.writelines(render(template, **context))


def render(template: str, *, package: str = _PACKAGE, **context: Any) -> Iterator[bytes]:
    """Yield a page piece by piece, in UTF-8.

    Args:
        template: Name of the template, such as `run.html`.
        package: Package with a folder `templates`; what it lacks is taken from this package's.
        context: Values for the template. Text is escaped, and characters that cannot be seen are
            written out; `Markup` is inserted as it is.
    """
    for part in _environment(package).get_template(template).generate(**context):
        # A file name that is not text has surrogates, which UTF-8 cannot encode.
        yield part.encode("utf-8", "xmlcharrefreplace")


def data_url(data: bytes, media_type: str) -> Markup:
    """Return a file of a media type, such as `image/png`, as a `data:` URL."""
    return Markup(f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}")


@cache
def _environment(package: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in (package, _PACKAGE)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.globals |= {"asset": asset, "units": units}
    environment.filters |= {"csp_hash": _csp_hash, "lines": _lines}
    return environment


def _printable(value: Any) -> Any:
    """Make the text of an expression printable; jinja2 escapes it afterwards."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def asset(name: str) -> Markup:
    """Return a stylesheet or a script of this package as it is."""
    return Markup((resources(_PACKAGE) / "templates" / name).read_text("utf-8"))


def _csp_hash(script: str) -> str:
    """Return the source expression with which a policy allows exactly this script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _lines(text: str) -> Markup:
    """Escape the text of a file line by line, so that its line breaks stay."""
    lines = text.expandtabs(4).splitlines()
    return Markup("\n").join(escape(printable(line)) for line in lines)
