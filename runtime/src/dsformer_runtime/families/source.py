"""Settings and modules of a directory, under the names of a family."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, TypeVar

import numpy as np

from dsformer_runtime.artefact.factors import CompressedModules
from dsformer_runtime.artefact.precision import convert
from dsformer_runtime.artefact.tensors import Tensors
from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.families.family import Family
from dsformer_runtime.model import CompressedTable, DenseTable, Floats, Linear, Matrix, Norm
from dsformer_runtime.reference import read_rows

T = TypeVar("T")
_LARGEST = 2**31 - 1
# Positions that a model without a table of them may have.
_MOST_POSITIONS = 1 << 17
# Older checkpoints name the parameters of LayerNorm so.
_NORM_NAMES = (("weight", "gamma"), ("bias", "beta"))


class ModelSettings:
    """Fields of ``config.json``, with the defaults of a family.

    Args:
        config: the fields that are there.
        defaults: of those that are not.
        aliases: other names of fields, and those that are read.
    """

    def __init__(self, config: Mapping[str, Any], defaults: Mapping[str, Any], aliases: Mapping[str, str]):
        renamed = {name: config[other] for other, name in aliases.items() if other in config}
        self._fields = {**defaults, **renamed, **config}

    def get(self, name: str) -> Any:
        """Return a field; None without it."""
        return self._fields.get(name)

    def integer(self, name: str, low: int) -> int:
        """Return a whole number of at least ``low``.

        Raises:
            RuntimeInputError: the field is missing or something else.
        """
        value = self._fields.get(name, low)
        if type(value) is not int or not low <= value <= _LARGEST:
            raise RuntimeInputError(f"config.json: {name} is {str(value)[:40]}, not a whole number of at least {low}")
        return value

    def check_number(self, name: str, value: Any, low: float) -> float:
        """Return a number that has to be at least ``low``.

        Args:
            name: of the field, for the message.
            value: of the field.
            low: the least that is possible.

        Raises:
            RuntimeInputError: it is less, or no number.
        """
        if type(value) not in (int, float) or not isfinite(value) or not low <= value <= 1e30:
            raise RuntimeInputError(f"config.json: {name} is {str(value)[:40]}, not a number of at least {low:g}")
        return float(value)


class Source:
    """The modules of a model, under the names of its family.

    Args:
        family: of the model.
        settings: of its configuration.
        tensors: that are stored.
        modules: the compressed modules among them.
        dtype: in which dense matrices multiply; None: as they are stored.
        prefix: with which the names of the base model are stored.
    """

    def __init__(
        self,
        family: Family,
        settings: ModelSettings,
        tensors: Tensors,
        modules: CompressedModules,
        dtype: str | None,
        prefix: str,
    ):
        self.family, self.settings = family, settings
        self._tensors, self._modules, self._dtype, self._prefix = tensors, modules, dtype, prefix
        self._cache: dict[str, Any] = {}
        self.position_rows = self._position_rows()

    @property
    def head_size(self) -> int:
        """Size of an attention head."""
        names = self.family.settings
        width, heads = self.settings.integer(names.width, 1), self.settings.integer(names.heads, 1)
        own = self.settings.get("head_dim")
        if own is None and width % heads:
            raise RuntimeInputError(f"config.json: {heads} attention heads do not divide {width}")
        return width // heads if own is None else self.settings.integer("head_dim", 1)

    @property
    def first_position(self) -> int:
        """Row of the first token's position."""
        return self.settings.integer("pad_token_id", 0) + 1 if self.family.padded_positions else 0

    @property
    def longest(self) -> int:
        """Greatest number of tokens of a text."""
        if self.position_rows is not None:
            return len(self.position_rows)
        return min(self.settings.integer(self.family.settings.longest, 1), _MOST_POSITIONS)

    def _position_rows(self) -> Floats | None:
        name, condition = self.family.positions, self.family.positions_if
        if name is None or (condition is not None and not self.settings.get(condition)):
            return None
        rows = self.rows(name)
        if len(rows) <= self.first_position:
            raise self.problem(name, f"{len(rows)} rows are no positions")
        return rows[self.first_position :]

    def cached(self, name: str, make: Callable[[], T]) -> T:
        """Return a value that is made once."""
        if name not in self._cache:
            self._cache[name] = make()
        return self._cache[name]

    def problem(self, name: str, what: str) -> RuntimeInputError:
        """Return the error of a module."""
        return RuntimeInputError(f"{self._prefix}{name}: {what}")

    def has(self, name: str, in_base: bool = True) -> bool:
        """Return whether there is a module of this name."""
        whole = self._name(name, in_base)
        return whole in self._modules or f"{whole}.weight" in self._tensors

    def _name(self, name: str, in_base: bool) -> str:
        return f"{self._prefix}{name}" if in_base else name

    def linear(self, name: str, in_base: bool = True, rounded: bool = True) -> Linear:
        """Return a linear layer, dense or compressed.

        Args:
            name: of the module.
            in_base: whether it belongs to the base model.
            rounded: whether it multiplies in the type of the model; otherwise no number is rounded when it is loaded.

        Raises:
            RuntimeInputError: it is missing or damaged.
        """
        whole = self._name(name, in_base)
        bias = self._tensors.floats(f"{whole}.bias") if f"{whole}.bias" in self._tensors else None
        if whole in self._modules:
            linear = self._modules.linear(whole, bias, rounded)
        else:
            weight = self._tensors.floats(f"{whole}.weight")
            if weight.ndim != 2:
                raise RuntimeInputError(f"{whole}.weight: stored shape {list(weight.shape)} is no matrix")
            linear = Linear(direct=convert(Matrix(weight), self._dtype if rounded else None), bias=bias)
        if bias is not None and bias.shape != (linear.out_features,):
            raise RuntimeInputError(f"{whole}.bias: stored shape {list(bias.shape)} is not [{linear.out_features}]")
        return linear

    def norm(self, name: str, width: int, in_base: bool = True) -> Norm:
        """Return a LayerNorm.

        Args:
            name: of the module.
            width: length of its gain.
            in_base: whether it belongs to the base model.

        Raises:
            RuntimeInputError: it is missing or damaged.
        """
        whole = self._name(name, in_base)
        stored = [next((key for key in keys if f"{whole}.{key}" in self._tensors), None) for keys in _NORM_NAMES]
        if stored[0] is None:
            raise RuntimeInputError(f"{whole}.weight: not in the weights")
        gain, shift = (None if key is None else self._tensors.floats(f"{whole}.{key}", (width,)) for key in stored)
        names = self.family.settings
        epsilon = self.settings.check_number(names.epsilon, self.settings.get(names.epsilon), 0.0)
        return Norm(epsilon, gain, shift)

    def table(self, name: str) -> DenseTable | CompressedTable:
        """Return an embedding; a dense one is a view of the mapped file.

        Raises:
            RuntimeInputError: it is missing or damaged.
        """
        whole = self._name(name, True)
        if whole in self._modules:
            return self._modules.table(whole)
        header = self._tensors.header(f"{whole}.weight")
        if len(header.shape) != 2 or not header.floating:
            raise RuntimeInputError(f"{whole}.weight: {header.dtype} {list(header.shape)} is no embedding")
        if header.dtype == "F64":
            return DenseTable(self._tensors.floats(f"{whole}.weight"))
        return DenseTable(self._tensors.stored(f"{whole}.weight"))

    def rows(self, name: str) -> Floats:
        """Return all rows of an embedding in float32.

        Raises:
            RuntimeInputError: it is missing or damaged.
        """
        table = self.table(name)
        if isinstance(table, DenseTable):
            return self._tensors.floats(f"{self._name(name, True)}.weight")
        if table.rows > _MOST_POSITIONS:
            raise self.problem(name, f"{table.rows} rows are too many")
        return read_rows(table, np.arange(table.rows))
