"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]
DataDir = Annotated[Path | None, typer.Option(help="folder of data sets", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the output directory")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="run Python code that comes with the model")]
RecipeFile = Annotated[
    Path | None, typer.Option(help="YAML file of recipe fields; flags override it", show_default=False)
]
