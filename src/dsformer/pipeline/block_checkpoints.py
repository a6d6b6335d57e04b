"""Checkpoints of an unfinished factorization: the budgets of the blocks, and every form that was fitted."""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dsformer._version import __version__
from dsformer.allocation.planned_block import Allotment
from dsformer.factorization.search import Fitted
from dsformer.format.channels import KeptChannels
from dsformer.format.form import Form
from dsformer.format.pattern import Pattern
from dsformer.format.precision import Precision
from dsformer.format.quantized import QuantizedForm
from dsformer.format.spec import FormSpec
from dsformer.utils.atomic_io import write_file_atomically, write_text
from dsformer.utils.tensor_hash import hash_tensors

_log = logging.getLogger("dsformer")

DIRECTORY, RECORD, ALLOTMENTS = "blocks", "model.json", "allotments.json"
_TENSORS = ("dictionary", "values", "indices", "permutation", "dictionary_scales", "value_scales", "cells")


class Checkpoints:
    """Budgets and fitted forms in a directory; without a directory nothing is kept and nothing is found.

    They belong to one dense model: those of another model are removed from the directory.

    Args:
        directory: where they are kept; None: nowhere.
        model: the dense model.
    """

    def __init__(self, directory: Path | None, model: nn.Module):
        self._directory = directory
        if directory is None:
            return
        record, digest = directory / RECORD, f"{__version__} {_digest(model)}"
        if _read_json(record) != digest:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            write_text(record, json.dumps(digest))

    def read_allotments(self) -> dict[str, Allotment] | None:
        """Read the budgets by block name; None: none were kept."""
        stored = None if self._directory is None else _read_json(self._directory / ALLOTMENTS)
        return None if stored is None else {name: _read_allotment(fields) for name, fields in stored.items()}

    def write_allotments(self, allotments: Mapping[str, Allotment]) -> None:
        """Keep the budgets, unless some are kept already."""
        if self._directory is not None and not (self._directory / ALLOTMENTS).is_file():
            stored = {name: _write_allotment(one) for name, one in allotments.items()}
            write_text(self._directory / ALLOTMENTS, json.dumps(stored))

    def read_fitted(self, name: str) -> Fitted | None:
        """Read the fitted form of a block; None: none was kept, or the file is damaged."""
        if self._directory is None:
            return None
        try:
            with safe_open(self._path(name), "pt") as file:
                fields = json.loads(file.metadata()["fitted"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            return None
        return _read_fitted(fields, tensors)

    def write_fitted(self, name: str, fitted: Fitted) -> None:
        """Keep the fitted form of a block."""
        if self._directory is None:
            return
        fields, tensors = _write_fitted(fitted)
        with write_file_atomically(self._path(name)) as fresh:
            save_file(tensors, fresh, {"fitted": json.dumps(fields)})

    def _path(self, name: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{name}.safetensors"


def _digest(model: nn.Module) -> str:
    """Return a hash of the model's weights."""
    hashed = blake2b(digest_size=16)
    hash_tensors(hashed, model.state_dict())
    return hashed.hexdigest()


def _read_json(path: Path) -> Any:
    """Read a file; None where there is none, or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_allotment(allotment: Allotment) -> dict[str, Any]:
    kept = allotment.kept
    fields: dict[str, Any] = {"bits": allotment.bits, "importance": allotment.importance}
    if kept is not None:
        rows, columns = (None if own is None else own.tolist() for own in (kept.rows, kept.columns))
        fields["kept"] = {"rows": rows, "columns": columns, "heads": kept.heads}
    return fields


def _read_allotment(fields: dict[str, Any]) -> Allotment:
    kept = fields.get("kept")
    if kept is not None:
        rows, columns = (None if kept[key] is None else torch.tensor(kept[key]) for key in ("rows", "columns"))
        kept = KeptChannels(rows, columns, kept["heads"])
    return Allotment(fields["bits"], fields["importance"], kept)


def _write_fitted(fitted: Fitted) -> tuple[dict[str, Any], dict[str, Tensor]]:
    form = fitted.form
    fields: dict[str, Any] = {"spec": asdict(form.spec), "error": fitted.error}
    fields["tried"] = [(asdict(spec), error) for spec, error in fitted.tried]
    if isinstance(form, QuantizedForm):
        fields["precision"] = asdict(form.precision)
    found = {name: getattr(form, name, None) for name in _TENSORS}
    return fields, {name: one.contiguous().clone() for name, one in found.items() if one is not None}


def _read_fitted(fields: dict[str, Any], tensors: dict[str, Tensor]) -> Fitted:
    spec, permutation = _read_spec(fields["spec"]), tensors.pop("permutation", None)
    form: Form | QuantizedForm
    if "precision" in fields:
        form = QuantizedForm(spec=spec, permutation=permutation, precision=Precision(**fields["precision"]), **tensors)
    else:
        form = Form(spec=spec, permutation=permutation, **tensors)
    return Fitted(form, fields["error"], [(_read_spec(one), error) for one, error in fields["tried"]])


def _read_spec(fields: dict[str, Any]) -> FormSpec:
    ragged = tuple((size, entries) for size, entries in fields["ragged"])
    own = {"pattern": Pattern(**fields["pattern"]), "ragged": ragged, "support_bits": tuple(fields["support_bits"])}
    return FormSpec(**{**fields, **own})
