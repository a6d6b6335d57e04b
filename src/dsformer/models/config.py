"""The ``quantization_config`` section of a compressed model's ``config.json``."""

from pathlib import Path
from typing import Any

from transformers.utils.quantization_config import QuantizationConfigMixin

from dsformer._version import __version__
from dsformer.errors import ArtefactError
from dsformer.format.schema import BlockConfig, parse_blocks
from dsformer.models.checkpoint import CONFIG, read_json
from dsformer.models.local_paths import strip_local_paths

METHOD = "dsformer"
FORMAT_VERSION = 1


class DSFormerConfig(QuantizationConfigMixin):
    """The blocks of a model that are compressed, and how they are stored.

    Args:
        blocks: the compressed blocks, or the dictionaries they are written as.
        format_version: version of the artefact's format.
        package_version: version of the package that wrote the artefact.
        summary: JSON values that the compressor reports.
        written: the record that ``checksum`` made when the model was saved. It is not written again, since the model
            may change.
        quant_method: always "dsformer".

    Raises:
        ArtefactError: a field is missing, unknown or of the wrong type, or the format is newer than this package.
    """

    quant_method: Any

    def __init__(
        self,
        blocks: Any = None,
        format_version: Any = FORMAT_VERSION,
        package_version: Any = __version__,
        summary: Any = None,
        written: Any = None,
        quant_method: Any = METHOD,
        **unknown: Any,
    ):
        # Checked first: a newer format may have other fields.
        if type(format_version) is not int or format_version < 1:
            raise ArtefactError(f"format_version: {format_version!r} is not a positive whole number")
        if format_version > FORMAT_VERSION:
            raise ArtefactError(
                f"written by a newer DSFormer (format {format_version}); upgrade: pip install -U dsformer"
            )
        if unknown:
            raise ArtefactError(f"quantization_config: unknown field {min(unknown)!r}")
        if quant_method != METHOD:
            raise ArtefactError(f"quant_method: {quant_method!r} is not {METHOD!r}")
        if not isinstance(package_version, str):
            raise ArtefactError("package_version: not text")
        if summary is not None and not isinstance(summary, dict):
            raise ArtefactError("summary: not an object")
        if written is not None and not isinstance(written, dict):
            raise ArtefactError("written: not an object")
        self.quant_method = METHOD
        self.format_version = format_version
        self.package_version = package_version
        self.blocks: list[BlockConfig] = parse_blocks([] if blocks is None else blocks)
        self.summary: dict[str, Any] = summary or {}
        self.written: dict[str, Any] | None = written
        # The record of the model that is about to be saved.
        self.record: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as they are written to ``config.json``.

        Fields of a block that have their default are omitted. Local paths in the summary are reduced to their last
        part.
        """
        blocks = [block.model_dump(mode="json", exclude_defaults=True) for block in self.blocks]
        fields = {
            "quant_method": self.quant_method,
            "format_version": self.format_version,
            "package_version": self.package_version,
            "blocks": blocks,
            "summary": strip_local_paths(self.summary),
        }
        return fields if self.record is None else {**fields, "written": self.record}

    def to_diff_dict(self) -> dict[str, Any]:
        """Return the same as :meth:`to_dict`: a compressed model's configuration is always written in full."""
        return self.to_dict()

    def __iter__(self):
        yield from self.to_dict().items()


def read_config(directory: Path) -> tuple[dict[str, Any], DSFormerConfig]:
    """Read ``config.json`` and parse its ``quantization_config``.

    Returns:
        All of ``config.json``, and its parsed ``quantization_config``.

    Raises:
        ArtefactError: it is missing, damaged, or that of a model that DSFormer has not compressed.
    """
    if not directory.is_dir():
        raise ArtefactError(f"{directory}: no such directory")
    path = directory / CONFIG
    config = read_json(path)
    quantization = config.get("quantization_config") if isinstance(config, dict) else None
    if not isinstance(quantization, dict) or quantization.get("quant_method") != METHOD:
        raise ArtefactError(f"{path}: not of a model compressed with DSFormer")
    names = config.get("architectures")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ArtefactError(f"{path}: architectures is not a list of names")
    try:
        return config, DSFormerConfig.from_dict(quantization)
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from None
