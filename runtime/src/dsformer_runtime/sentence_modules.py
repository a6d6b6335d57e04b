"""Modules that sentence encoders have after pooling: Dense, LayerNorm, Normalize."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dsformer_runtime.artefact.directory import read_object, weight_files
from dsformer_runtime.artefact.tensors import Tensors
from dsformer_runtime.backend import Backend, scale_to_one
from dsformer_runtime.errors import RuntimeInputError, UnsupportedModelError
from dsformer_runtime.model import Activation, Floats, Linear, Matrix, Norm
from dsformer_runtime.reference import normalize

_ACTIVATIONS: dict[str, Activation] = {
    **{"Tanh": "tanh", "Identity": "identity", "ReLU": "relu", "GELU": "gelu", "SiLU": "silu"},
}
# nn.LayerNorm's default, which sentence-transformers does not store.
_EPSILON = 1e-5


class Module(Protocol):
    """What a vector goes through after pooling."""

    def run(self, backend: Backend, x: Floats) -> Floats:
        """Return the outputs (texts, out) for vectors (texts, in)."""
        ...

    def width(self, inputs: int) -> int:
        """Return the length of the outputs, given that of the inputs."""
        ...


@dataclass(frozen=True)
class Dense:
    """A linear layer with an activation, and the input or a second layer's product added."""

    linear: Linear
    activation: Activation
    residual: Linear | None
    adds_input: bool

    def run(self, backend: Backend, x: Floats) -> Floats:
        """Return the outputs (texts, out)."""
        y = backend.run_linear(self.linear, x, self.activation)
        if self.residual is not None:
            return y + backend.run_linear(self.residual, x, "identity")
        return y + x if self.adds_input else y

    def width(self, inputs: int) -> int:
        """Return the length of the outputs."""
        return self.linear.out_features


@dataclass(frozen=True)
class LayerNorm:
    """LayerNorm of the vector."""

    norm: Norm

    def run(self, backend: Backend, x: Floats) -> Floats:
        """Return the outputs (texts, out)."""
        return normalize(x, self.norm)

    def width(self, inputs: int) -> int:
        """Return the length of the outputs."""
        return inputs


class Normalize:
    """Scaling to length 1."""

    def run(self, backend: Backend, x: Floats) -> Floats:
        """Return the outputs (texts, out)."""
        return scale_to_one(x)

    def width(self, inputs: int) -> int:
        """Return the length of the outputs."""
        return inputs


class Dropout(Normalize):
    """What training alone has."""

    def run(self, backend: Backend, x: Floats) -> Floats:
        """Return the inputs."""
        return x


def read_module(kind: str, place: Path, inputs: int) -> Module:
    """Return a module of its directory.

    Args:
        kind: its class's name.
        place: its directory.
        inputs: length of the vectors it reads.

    Raises:
        RuntimeInputError: it is damaged.
        UnsupportedModelError: it is of a kind that is not supported.
    """
    if kind in ("Normalize", "Dropout"):
        return Normalize() if kind == "Normalize" else Dropout()
    if kind not in ("Dense", "LayerNorm"):
        raise UnsupportedModelError(f"{place}: the module {kind[:60]!r} is not supported; PyTorch runs it")
    tensors = Tensors(weight_files(place))
    if kind == "LayerNorm":
        shape = (inputs,)
        return LayerNorm(Norm(_EPSILON, tensors.floats("norm.weight", shape), tensors.floats("norm.bias", shape)))
    config = read_object(place / "config.json")
    for field in ("module_input_name", "module_output_name"):
        if config.get(field) not in (None, "sentence_embedding"):
            raise UnsupportedModelError(f"{place}: a Dense of {str(config[field])[:60]!r} is not supported")
    name = str(config.get("activation_function", "torch.nn.Tanh")).rpartition(".")[2]
    if name not in _ACTIVATIONS:
        raise UnsupportedModelError(f"{place}: the activation {name[:60]!r} is not supported")
    linear = _read_linear(tensors, "linear", inputs)
    adds = config.get("use_residual") is True
    second = _read_linear(tensors, "residual", inputs) if adds and linear.out_features != inputs else None
    return Dense(linear, _ACTIVATIONS[name], second, adds)


def _read_linear(tensors: Tensors, name: str, inputs: int) -> Linear:
    weight = tensors.floats(f"{name}.weight")
    if weight.ndim != 2 or weight.shape[1] != inputs:
        raise RuntimeInputError(f"{name}.weight: stored shape {list(weight.shape)} does not read {inputs} numbers")
    bias = tensors.floats(f"{name}.bias", weight.shape[:1]) if f"{name}.bias" in tensors else None
    return Linear(direct=Matrix(weight), bias=bias)
