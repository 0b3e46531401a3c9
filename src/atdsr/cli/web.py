"""`atdsr web`."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from atdsr.base.errors import AtdsrError
from atdsr.base.extras import install_command
from atdsr.cli.console import err, say
from atdsr.cli.options import Device, DeviceOption, QuietOption, UsageError, flag

EXAMPLES = """\b
Examples:
  atdsr web --open                           a page on this machine, in the browser
  atdsr web --host 0.0.0.0 --token SECRET    for a team; SECRET has 16 characters or more
  curl --data-binary @a.png -H "Prefer: wait=60" -o b.png "localhost:8000/v1/upscale?scale=2"
"""


def web(
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where to listen; other machines need --token."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="TCP port; 0 takes a free one.")
    ] = 8000,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME|FILE",
            help="A model to offer; give it again for more.  [default: those that come with atdsr]",
        ),
    ] = None,
    open_page: Annotated[bool, flag("--open", help="Open the page in a browser.")] = False,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET",
            envvar="ATDSR_WEB_TOKEN",
            show_envvar=False,
            help="Secret that clients must send; safer in ATDSR_WEB_TOKEN, which other users of "
            "the machine cannot see.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which a gateway forwards; may be repeated."),
    ] = None,
    max_megapixels: Annotated[
        float,
        typer.Option(metavar="N", min=0.001, max=268, help="Of a picture; results: 16 times that."),
    ] = 64,
    max_megabytes: Annotated[
        float, typer.Option(metavar="N", min=0.001, help="Of an upload.")
    ] = 200,
    queue: Annotated[int, typer.Option(metavar="N", min=1, help="Pictures that may wait.")] = 256,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="Time limit for a picture.")
    ] = 3600,
    keep: Annotated[
        float, typer.Option(metavar="MINUTES", min=0.01, help="How long results are kept.")
    ] = 60,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep pictures and results there over a restart.  [default: they are deleted]",
        ),
    ] = None,
    device: DeviceOption = Device.auto,
    quiet: QuietOption = False,
) -> None:
    """Serve a page and an HTTP API that enlarge pictures.

    The page takes pictures that are dropped, pasted or chosen, and shows each beside its original.
    Nothing leaves the machine that runs the service. Ctrl-C ends it: pictures that are being
    worked on are finished first, for 30 seconds at most. A line of JSON for each request goes to
    standard output, unless --quiet is given.
    """
    try:
        from atdsr.web import server
        from atdsr.web.config import WebConfig
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("atdsr"):
            raise
        raise AtdsrError(
            f"the page needs an extra of atdsr; install it with: {install_command('web')}."
        ) from None
    for name in model or []:
        if Path(name).is_dir():
            raise UsageError(f"{name} is a folder; name a model or a file.")
    config = WebConfig(
        host=host,
        port=port,
        models=tuple(model or ()),
        device=device.value,
        token=token,
        hosts=tuple(allow_host or ()),
        max_megapixels=max_megapixels,
        max_megabytes=max_megabytes,
        queue=queue,
        job_seconds=timeout,
        keep_seconds=60 * keep,
        state=state,
    )

    def opened(address: str) -> None:
        say(err, f"atdsr is at {address} (Ctrl-C ends it)")
        if open_page:
            webbrowser.open(address)

    server.serve(config, log=not quiet, opened=opened)
