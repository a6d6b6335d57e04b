"""``dsformer densify``: write a compressed model as a dense one."""

from pathlib import Path
from typing import Annotated

import typer

from dsformer.cli.options import CompressedModel, Overwrite, TrustRemoteCode, path_option
from dsformer.models.load import densify as run_densify


def densify(
    directory: CompressedModel,
    output: Annotated[Path, path_option("--output", "-o", help="directory to write")],
    overwrite: Overwrite = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Write a compressed model as a plain dense directory, which loads without dsformer."""
    written = run_densify(directory, output, overwrite=overwrite, trust_remote_code=trust_remote_code)
    typer.echo(f"wrote {written}")
