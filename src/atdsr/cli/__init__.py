"""The command line: parse, call, print, exit code.

Modules are imported where they are used, so that `--help` answers at once.
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

import atdsr
from atdsr.base import files, interrupts
from atdsr.base.errors import AtdsrError
from atdsr.cli import (
    cluster,
    config,
    data,
    defaults,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    models,
    restore,
    runs,
    train,
    upscale,
    web,
)
from atdsr.cli.console import (
    ClosedError,
    OutputError,
    checked_streams,
    err,
    flush,
    leads_on_machine,
    out,
    printable,
    say,
)
from atdsr.cli.options import UsageError, flag
from atdsr.cli.unknown_options import ARGUMENTS, long_with_one_dash, unknown_option


class Command(TyperCommand):
    """A command whose usage line names its arguments as its help text does."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Arguments first, as in the examples."""
        arguments = [param for param in self.params if isinstance(param, TyperArgument)]
        return [*(str(argument.metavar) for argument in arguments), "[OPTIONS]"]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words, for what is said about an option that is not there."""
        ctx.meta[ARGUMENTS] = tuple(args)
        sentence = None if ctx.resilient_parsing else long_with_one_dash(args, self)
        if sentence is not None:
            raise UsageError(sentence, ctx)
        return super().parse_args(ctx, args)


class CommandGroup(TyperGroup):
    """A group of commands whose help screens need not wait for pydantic."""

    def get_help_option(self, ctx: Any) -> Any:
        """The option -h, off by default; of a flag that is neither Typer asks pydantic."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


@contextmanager
def _printable_usage() -> Iterator[None]:
    """Let what is said about a wrong command line quote it in a form that can be shown."""
    try:
        yield
    except UsageError as error:
        said: Any = error  # Typer exports neither this class nor its attributes
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help screen
            raise
        if hasattr(said, "possibilities"):
            said.message = unknown_option(said)
            said.possibilities = None
        if said.ctx is not None and (parameter := getattr(said, "param", None)) is not None:
            source = said.ctx.get_parameter_source(parameter.name)
            if source is not None and source.name == "DEFAULT_MAP":
                said.message = f"{said.message} (in {defaults.file()})"
        said.message = printable(said.message.removeprefix("Value error, "))  # of pydantic
        raise


def _asks_for_help(context: Any) -> bool:
    """Tell whether a command line asks for a help screen, before its command is read."""
    rest = (*context._protected_args, *context.args)
    return any(word in ("-h", "--help") for word in rest)


class Commands(CommandGroup):
    """The commands, and the place where a foreseen failure becomes a sentence and an exit code."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the options before the command's name."""
        for parameter in self.params:
            if parameter.name in ("install_completion", "show_completion"):
                parameter.default = False  # flags without one would wait for pydantic, too
        with _printable_usage():
            return super().make_context(*args, **kwargs)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words, as `Command` does."""
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; a file in its place is one that is to be enlarged."""
        try:
            return super().resolve_command(ctx, args)
        except UsageError as error:
            said: Any = error
            if Path(args[0]).exists():
                name = shlex.quote(args[0])
                said.message = (
                    f"'{args[0]}' is not a command; enlarge it with: atdsr upscale {name}"
                )
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            with interrupts.raise_on_signal(), _printable_usage():
                if not _asks_for_help(ctx):  # which is shown at once, and of a damaged file, too
                    ctx.default_map = defaults.read(self)
                return super().invoke(ctx)
        except AtdsrError as error:
            # on one machine all fail alike and one voice is enough; another may lack a folder
            if leads_on_machine() and not isinstance(error, ClosedError):
                say(err, f"error: {error}")
            raise typer.Exit(1) from None
        except MemoryError:
            say(err, "error: the memory is exhausted; end other programs, or give this one more.")
            raise typer.Exit(1) from None
        except (KeyboardInterrupt, typer.Abort) as end:
            if isinstance(end, typer.Abort) and not interrupts.was_interrupted():  # nobody answers
                raise
            say(err, "interrupted")
            raise typer.Exit(interrupts.exit_code()) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Enlarge pictures with ATD, the Adaptive Token Dictionary transformer.",
)
app.command(cls=Command, epilog=upscale.EXAMPLES)(upscale.upscale)
app.command(cls=Command, epilog=restore.EXAMPLES)(restore.restore)
models_app = typer.Typer(
    cls=CommandGroup,
    invoke_without_command=True,
    rich_markup_mode=None,
    callback=models.models,
    epilog=models.EXAMPLES,
)
app.add_typer(models_app, name="models")
models_app.command(cls=Command)(models.fetch)
models_app.command(cls=Command)(models.add)
app.command(cls=Command)(models.info)
app.command(cls=Command)(models.convert)
app.command(cls=Command, epilog=export.EXAMPLES)(export.export)
app.command(cls=Command, name="eval", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(cls=Command, epilog=train.EXAMPLES)(train.train)
data_app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make and check training sets; identify test sets.",
)
app.add_typer(data_app, name="data")
data_app.command(cls=Command)(data.pack)
data_app.command(cls=Command)(data.check)
data_app.command(cls=Command)(data.identify)
data_app.command(cls=Command)(data.degrade)
runs_app = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, rich_markup_mode=None, help="Look at training runs."
)
app.add_typer(runs_app, name="runs")
runs_app.command(cls=Command)(runs.show)
runs_app.command(cls=Command, name="list")(runs.list_runs)
app.command(cls=Command)(explain.explain)
app.command(cls=Command)(demo.demo)
app.command(cls=Command)(doctor.doctor)
app.command(cls=Command)(config.config)
app.command(cls=Command, epilog=web.EXAMPLES)(web.web)
cluster_app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Enlarge pictures on many machines, with Ray.",
)
app.add_typer(cluster_app, name="cluster")
cluster_app.command(cls=Command, epilog=cluster.EXAMPLES)(cluster.upscale)


def _version(wanted: bool) -> None:
    if wanted:
        from atdsr.base import checkout

        commit = checkout.commit()
        say(out, f"atdsr {atdsr.__version__}" + (f" (commit {commit})" if commit else ""))
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, flag("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line as a process of its own."""
    from atdsr.base.memory import keep_freed_memory

    interrupts.install_handlers()
    interrupts.set_cleanup(files.delete_temporary_files, files.has_temporary_files)
    keep_freed_memory()
    checked_streams()
    code: object = 0
    try:
        app(prog_name="atdsr")
    except SystemExit as end:
        code = end.code
    except OutputError:  # outside of a command, as of a help screen
        pass
    files.delete_temporary_files()  # what an interrupt may have come too early for
    try:
        flush()
    except OutputError as error:
        if not code and not isinstance(error, ClosedError):
            say(err, f"error: {error}")
        code = code or 1
    sys.exit(code)
