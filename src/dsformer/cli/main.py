"""The ``dsformer`` program: registers the commands and runs them."""

from typing import Annotated

import typer

from dsformer._version import __version__
from dsformer.cli.benchmark import benchmark
from dsformer.cli.compress import compress
from dsformer.cli.demo import demo
from dsformer.cli.densify import densify
from dsformer.cli.error_handling import GuardedGroup
from dsformer.cli.evaluate import evaluate
from dsformer.cli.finetune import finetune
from dsformer.cli.inspect import inspect
from dsformer.cli.sweep import sweep
from dsformer.utils.shutdown import exit_code, handle_signals, leave

app = typer.Typer(
    name="dsformer",
    cls=GuardedGroup,
    help="Make transformers smaller by writing each weight as a dense matrix times a semi-structured sparse one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
for command in (compress, finetune, inspect, evaluate, benchmark, sweep, densify, demo):
    app.command()(command)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"dsformer {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the program: the entry point of the package."""
    handle_signals()
    try:
        app()
    except SystemExit as end:
        if end.code == exit_code():
            leave(exit_code())
        raise
