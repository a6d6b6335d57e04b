"""Files for other engines that are in a model's directory, as the export functions of sentence-transformers write them.

The way is the file's path in the directory: ``onnx/model_qint8_avx512_vnni.onnx`` or
``openvino/openvino_model_qint8_quantized.xml``.
"""

from pathlib import Path
from typing import Any

from dsformer.benchmarking.runtimes import onnx, openvino
from dsformer.benchmarking.runtimes.engine import Padded
from dsformer.benchmarking.runtimes.exported import require
from dsformer.errors import InputError

FOLDERS = {"onnx": ".onnx", "openvino": ".xml"}


def is_file_way(way: str) -> bool:
    """Return whether a way names a file of a model's directory."""
    folder, _, name = way.partition("/")
    return folder in FOLDERS and name.endswith(FOLDERS[folder])


def open_file(directory: Path, way: str, tokenizer: Any) -> Padded:
    """Run the file that a way names.

    Args:
        directory: of the model.
        way: path of the file in it.
        tokenizer: the model's.

    Raises:
        InputError: there is no such file, or its engine cannot run it.
        MissingExtraError: its engine is not installed.
    """
    path = directory / way
    if not path.is_file():
        raise InputError(f"{directory}: has no {way}; sentence-transformers' export functions write such files")
    if way.startswith("onnx/"):
        require("onnx", "onnxruntime")
        return onnx.run_file(path, tokenizer)
    return openvino.run_file(path, tokenizer)
