"""``dsformer densify``."""

from pathlib import Path
from typing import Annotated

import typer

from dsformer.cli.options import Overwrite, TrustRemoteCode
from dsformer.loading import densify as run_densify


def densify(
    directory: Annotated[Path, typer.Argument(help="a compressed model", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="directory to write", show_default=False)],
    overwrite: Overwrite = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Write a compressed model as a plain dense directory, which loads without dsformer."""
    written = run_densify(directory, output, overwrite=overwrite, trust_remote_code=trust_remote_code)
    typer.echo(f"wrote {written}")
