"""Dense models as ONNX files, for the engines that read these."""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsformer.data import bundled_passages
from dsformer.errors import InputError, MissingExtraError
from dsformer.models.source import quiet

# Number of passages, and their greatest length in tokens, on which ranges of activations are measured.
CALIBRATION, LENGTH = 64, 128
INPUTS = ("input_ids", "attention_mask")


class Exported:
    """A dense model as an ONNX file, which is removed with this object.

    Models are exported with eager attention and without dynamo, which engines fuse best (measured on MiniLM: int8 runs
    a fifth faster than with the newer exporter).

    Args:
        model: to export.
        tokenizer: the model's.

    Raises:
        MissingExtraError: a package is not installed.
        InputError: the model cannot be exported.
    """

    def __init__(self, model: nn.Module, tokenizer: Any):
        require("onnx", "onnx", "onnxruntime", "onnxscript")
        self.tokenizer, self.config = tokenizer, model.config
        self._length = min(LENGTH, getattr(model.config, "max_position_embeddings", LENGTH))
        self._directory = tempfile.TemporaryDirectory()
        self.path = Path(self._directory.name) / "model.onnx"
        model.set_attn_implementation("eager")  # type: ignore[operator]
        sizes = {0: "batch", 1: "length"}
        try:
            with silent(), torch.no_grad():
                torch.onnx.export(
                    _First(model),
                    # Two rows: the exporter would take sizes of one for constants.
                    tuple(self.batch("An example.", 16)[name].repeat(2, 1) for name in INPUTS),
                    self.path,
                    input_names=list(INPUTS),
                    output_names=["output"],
                    dynamic_axes=dict.fromkeys((*INPUTS, "output"), sizes),
                    dynamo=False,
                )
        except Exception as error:
            raise InputError(f"{type(model).__name__} cannot be exported to ONNX: {error}") from error

    def batch(self, text: str, length: int) -> Mapping[str, Tensor]:
        """Tokenize one text to the model's inputs."""
        encoded = self.tokenizer(text, truncation=True, max_length=length, return_tensors="pt")
        return {name: encoded[name] for name in INPUTS}

    def calibration(self) -> list[dict[str, Any]]:
        """Tokenize the texts on which ranges of activations are measured, as arrays."""
        passages = bundled_passages(CALIBRATION)
        return [{name: one.numpy() for name, one in self.batch(text, self._length).items()} for text in passages]


class _First(nn.Module):
    """A model with two inputs and one output, for export to a graph."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        # The exporter puts all parts of the model back into the mode that this whole has.
        self.eval()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Run the model and return its first output."""
        return self.model(input_ids=ids, attention_mask=mask)[0]


def size_of(path: Path) -> int:
    """Return the bytes of an engine's directory, or of its file and the weights beside it."""
    files = path.iterdir() if path.is_dir() else path.parent.glob(f"{path.stem}.*")
    return sum(file.stat().st_size for file in files)


@contextmanager
def silent() -> Iterator[None]:
    """Suppress warnings, log lines and progress bars (NNCF draws its own on standard output)."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with quiet(), warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def require(extra: str, *packages: str) -> None:
    """Check that the packages of an extra are installed.

    Raises:
        MissingExtraError: one is not.
    """
    if any(find_spec(package) is None for package in packages):
        raise MissingExtraError(f"The way {extra}", extra)
