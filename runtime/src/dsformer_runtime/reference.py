"""The encoder in plain NumPy: the specification that the native kernels are tested against.

Everything is float32. Products with int8 matrices quantize the input: every token to the nearest of 256 numbers, zero
among them, and the integers are multiplied exactly. In a linear layer of two factors the input is quantized once for
``inner`` and ``direct``, and the product with ``inner`` again; the two terms are added in float32.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from dsformer_runtime.artefact.precision import round_bfloat16, widen_scales
from dsformer_runtime.artefact.spec import Pattern, Spec
from dsformer_runtime.artefact.supports import unpack_groups
from dsformer_runtime.model import (
    Activation,
    CompressedTable,
    DenseTable,
    EncoderLayer,
    EncoderModel,
    Floats,
    Integers,
    Linear,
    Matrix,
    Norm,
    widen,
)

# Tokens with a smaller range are quantized to zero.
SMALLEST_RANGE = 1e-30


class ReferenceEncoder:
    """Runs an encoder.

    Args:
        model: the encoder.
    """

    def __init__(self, model: EncoderModel):
        self.model = model

    def run(self, ids: Integers, types: Integers | None, lengths: NDArray[np.integer]) -> Floats:
        """Return the last hidden states (tokens, width) of texts that stand one after another.

        Args:
            ids: (tokens,) of the tokens.
            types: (tokens,) of the tokens; None: all are of type 0.
            lengths: (texts,) tokens of each text.
        """
        model = self.model
        x = self._embed(ids, types, lengths)
        for layer in model.layers:
            attended = _run_each(layer.query_key_value, self._before(x, layer.attention_norm))
            attended = run_linear(layer.attention_output, self._attend(layer, attended, lengths))
            x = self._after(x + attended, layer.attention_norm)
            inside = _run_each(layer.up, self._before(x, layer.output_norm))
            if model.gated:
                inside, factors = np.split(inside, 2, axis=1)
                inside = activate(inside, model.activation) * factors
            else:
                inside = activate(inside, model.activation)
            x = self._after(x + run_linear(layer.down, inside), layer.output_norm)
        return x if model.final_norm is None else normalize(x, model.final_norm)

    def _before(self, x: Floats, norm: Norm | None) -> Floats:
        return normalize(x, norm) if self.model.pre_norm and norm is not None else x

    def _after(self, x: Floats, norm: Norm | None) -> Floats:
        return x if self.model.pre_norm or norm is None else normalize(x, norm)

    def _embed(self, ids: Integers, types: Integers | None, lengths: NDArray[np.integer]) -> Floats:
        model = self.model
        x = read_rows(model.words, ids)
        if model.positions is not None:
            x = x + np.concatenate([model.positions[:length] for length in lengths])
        if model.types is not None:
            x = x + (model.types[0] if types is None else model.types[types])
        if model.embedding_norm is not None:
            x = normalize(x, model.embedding_norm)
        return x if model.projection is None else run_linear(model.projection, x)

    def _attend(self, layer: EncoderLayer, states: Floats, lengths: NDArray[np.integer]) -> Floats:
        """Return what attention makes of queries, keys and values, text by text."""
        size = states.shape[1] // 3
        out = np.empty((len(states), size), np.float32)
        for rows in _texts(lengths):
            heads = states[rows].reshape(-1, 3, size // self.model.head_size, self.model.head_size)
            queries, keys, values = heads.transpose(1, 2, 0, 3)
            if layer.rotary:
                queries, keys = rotate(queries, layer.rotary), rotate(keys, layer.rotary)
            scores = self._score(layer, queries, keys)
            weights = softmax(scores)
            out[rows] = (weights @ values).transpose(1, 0, 2).reshape(-1, size)
        return out

    def _score(self, layer: EncoderLayer, queries: Floats, keys: Floats) -> Floats:
        """Return the scores (heads, queries, keys) of one text."""
        model, (heads, tokens, size) = self.model, queries.shape
        scores = queries @ keys.transpose(0, 2, 1)
        place = np.arange(tokens)
        away = place[None] - place[:, None]
        if layer.disentangled is not None:
            relative = layer.disentangled
            index = relative.index[(len(relative.index) - 1) // 2 - away]
            if relative.keys is not None:
                terms = queries @ relative.keys.reshape(-1, heads, size).transpose(1, 2, 0)
                scores = scores + np.take_along_axis(terms, index[None], axis=2)
            if relative.queries is not None:
                terms = keys @ relative.queries.reshape(-1, heads, size).transpose(1, 2, 0)
                scores = scores + np.take_along_axis(terms, index.T[None], axis=2).transpose(0, 2, 1)
        scores = scores * np.float32(model.scale)
        if model.bias is not None:
            scores = scores + model.bias[:, away + (model.bias.shape[1] - 1) // 2]
        if layer.window:
            scores = np.where(np.abs(away) <= layer.window, scores, np.float32(-np.inf))
        return scores


def run_linear(linear: Linear, x: Floats) -> Floats:
    """Return the outputs (tokens, out) of a linear layer.

    Args:
        linear: the layer.
        x: (tokens, in) float32.
    """
    y = None if linear.direct is None else multiply(linear.direct, x)
    if linear.inner is not None and linear.outer is not None:
        mixed = multiply(linear.outer, multiply(linear.inner, x))
        y = mixed if y is None else mixed + y
    assert y is not None, "a layer without matrices"
    return y if linear.bias is None else y + linear.bias


def multiply(matrix: Matrix, x: Floats) -> Floats:
    """Return the products (tokens, rows) of a matrix with inputs (tokens, columns) in the type of the matrix."""
    if matrix.scales is not None:
        whole, scale = quantize_tokens(x)
        # In float64 sums of such products are exact.
        sums = whole.astype(np.float64) @ matrix.values.T.astype(np.float64)
        return sums.astype(np.float32) * scale * matrix.scales
    if matrix.values.dtype == np.uint16:
        x = widen(round_bfloat16(x))
    return x @ matrix.dense().T


def quantize_tokens(x: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Return every token as whole numbers from -255 to 255, whose zero is 0, and the scale (tokens, 1) of each."""
    low, high = x.min(1, keepdims=True, initial=0), x.max(1, keepdims=True, initial=0)
    reach = high - low
    with np.errstate(divide="ignore", over="ignore"):
        steps = np.where(reach > SMALLEST_RANGE, np.float32(255) / reach, np.float32(0))
    zero = np.rint(-low * steps)
    whole = np.rint(x * steps + zero).clip(0, 255) - zero
    return whole.astype(np.int32), reach / np.float32(255)


def normalize(x: Floats, norm: Norm) -> Floats:
    """Return LayerNorm of the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    y = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(norm.epsilon))
    y = y if norm.gain is None else y * norm.gain
    return y if norm.shift is None else y + norm.shift


def softmax(scores: Floats) -> Floats:
    """Return the softmax of the last axis."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def activate(x: Floats, activation: Activation) -> Floats:
    """Return an activation of every number."""
    return _ACTIVATIONS[activation](x)


def rotate(heads: Floats, base: float) -> Floats:
    """Return queries or keys (heads, tokens, size) turned by their positions; pairs are i and i + size / 2."""
    _, tokens, size = heads.shape
    speeds = (1 / base ** (np.arange(0, size, 2, dtype=np.float32) / size)).astype(np.float32)
    angles = np.arange(tokens, dtype=np.float32)[:, None] * speeds
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = np.split(heads, 2, axis=2)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=2)


def read_rows(table: DenseTable | CompressedTable, ids: NDArray[np.integer]) -> Floats:
    """Return rows (tokens, width) of an embedding."""
    if isinstance(table, DenseTable):
        rows = table.values[ids]
        return widen(rows) if table.scales is None else rows.astype(np.float32) * table.scales[ids][:, None]
    codes = ids if table.code_of is None else table.code_of[ids]
    values = _scaled(table.values[codes], None if table.value_scales is None else table.value_scales[codes])
    atoms = len(table.dictionary)
    mixed = np.zeros((len(ids), atoms + (table.width if table.canonical else 0)), np.float32)
    mixed[:, : table.core] = values[:, : table.core]
    mask = _read_support(table, codes // table.group)
    mixed[:, table.core :][mask] = values[:, table.core :].reshape(-1)
    rows = mixed[:, :atoms] @ _scaled(table.dictionary, table.dictionary_scales)
    return rows + mixed[:, atoms:] if table.canonical else rows


def _scaled(numbers: NDArray, scales: NDArray[np.uint16] | None) -> Floats:
    return np.asarray(numbers, np.float32) * (1 if scales is None else widen_scales(scales)[:, None])


def _read_support(table: CompressedTable, groups: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which candidates groups select, (groups, candidates)."""
    candidates = len(table.dictionary) - table.core + (table.width if table.canonical else 0)
    pattern = Pattern(table.group, table.of_set, candidates // table.sets if table.sets else 0)
    form = (len(table.dictionary), table.core, table.nonzeros, table.canonical, pattern)
    return unpack_groups(Spec("input", table.rows, table.width, *form), table.support, groups)


def _run_each(linears: tuple[Linear, ...], x: Floats) -> Floats:
    return np.concatenate([run_linear(linear, x) for linear in linears], axis=1)


def _texts(lengths: NDArray[np.integer]) -> Iterator[slice]:
    """Yield the rows of every text."""
    stops = np.cumsum(lengths)
    for start, stop in zip(stops - lengths, stops, strict=True):
        yield slice(int(start), int(stop))


def _gelu(x: Floats) -> Floats:
    """Return the exact GELU; erf by Abramowitz and Stegun 7.1.26, whose error is below 1.5e-7."""
    z = np.abs(x.astype(np.float64)) * 0.5**0.5
    t = 1 / (1 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return (0.5 * x * (1 + np.sign(x) * (1 - series * np.exp(-z * z)))).astype(np.float32)


def _gelu_tanh(x: Floats) -> Floats:
    return np.float32(0.5) * x * (1 + np.tanh(np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x**3)))


def _silu(x: Floats) -> Floats:
    return x * sigmoid(x)


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x))."""
    return np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * x))


_ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "identity": lambda x: x,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": lambda x: np.maximum(x, 0),
    "silu": _silu,
    "tanh": np.tanh,
}
