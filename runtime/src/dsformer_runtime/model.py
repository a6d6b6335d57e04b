"""What an encoder is made of: the arrays and settings that the reference and the native kernels run.

A family (``families``) makes an :class:`EncoderModel` of a directory's configuration and tensors. Texts stand one after
another without padding; a batch is token ids and the lengths of its texts.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Activation = Literal["identity", "gelu", "gelu_tanh", "relu", "silu", "tanh"]
Pooling = Literal["mean", "cls", "max"]
Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


def widen(numbers: NDArray) -> Floats:
    """Return floating-point numbers as float32; uint16 are the bits of bfloat16."""
    if numbers.dtype == np.uint16:
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(numbers, np.float32)


@dataclass(frozen=True)
class Matrix:
    """A matrix (rows, columns) that multiplies, dense or with zeros where a sparse one stores nothing.

    Attributes:
        values: float32; uint16, the bits of bfloat16, with which the input is rounded to bfloat16 too and products are
            summed in float32; or int8 that stand for themselves times the scale of their row.
        scales: (rows,) float32, with int8 values.
    """

    values: NDArray
    scales: Floats | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.values.shape[0], self.values.shape[1]

    def dense(self) -> Floats:
        """Return the numbers (rows, columns)."""
        if self.scales is None:
            return widen(self.values)
        return self.values.astype(np.float32) * self.scales[:, None]


@dataclass(frozen=True)
class Linear:
    """A linear layer, ``y = outer (inner x) + direct x + bias``.

    A dense layer has ``direct`` alone. With an input dictionary ``W = S [D; I]``, ``inner`` is D, ``outer`` the codes
    of the learned atoms and ``direct`` those of the unit vectors. With an output dictionary ``W = [D, I] S``, ``inner``
    is the rows of S that belong to learned atoms, ``outer`` is D and ``direct`` the rows of the unit vectors.

    Attributes:
        inner: (atoms, in).
        outer: (out, atoms); None exactly if ``inner`` is.
        direct: (out, in).
        bias: (out,).
    """

    inner: Matrix | None = None
    outer: Matrix | None = None
    direct: Matrix | None = None
    bias: Floats | None = None

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """Matrices that there are, in the order of the attributes."""
        return tuple(matrix for matrix in (self.inner, self.outer, self.direct) if matrix is not None)

    @property
    def out_features(self) -> int:
        """Length of the output."""
        return next(matrix.shape[0] for matrix in (self.outer, self.direct) if matrix is not None)

    @property
    def in_features(self) -> int:
        """Length of the input."""
        return next(matrix.shape[1] for matrix in (self.inner, self.direct) if matrix is not None)


@dataclass(frozen=True)
class Norm:
    """LayerNorm over the last axis: ``gain`` and ``shift`` (width,); without them 1 and 0."""

    epsilon: float
    gain: Floats | None = None
    shift: Floats | None = None


@dataclass(frozen=True)
class CompressedTable:
    """An embedding as DSFormer stores it, with an input dictionary whose units are the rows.

    The fields are those of ``dsf_table`` in ``csrc/include/dsformer.h``.

    Attributes:
        rows, width: of the table.
        dictionary: (atoms, width) float32 or int8.
        values: (rows, core + nonzeros) of the same type.
        dictionary_scales, value_scales: with int8, bits of bfloat16 (uint16), for every atom and every row.
        support: bits, as stored.
        core, nonzeros, group, canonical: of the form.
        field_bits: of an index in ``support``; 0: it is a bitmask.
        of_set, sets: n:m supports: so many on in each of the strided sets.
        code_of: (rows,) int64 code that describes a row; None: its own.
    """

    rows: int
    width: int
    dictionary: NDArray
    values: NDArray
    dictionary_scales: NDArray[np.uint16] | None
    value_scales: NDArray[np.uint16] | None
    support: NDArray[np.uint8] | None
    core: int
    nonzeros: int
    group: int
    canonical: bool
    field_bits: int
    of_set: int = 0
    sets: int = 0
    code_of: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class DenseTable:
    """An embedding (rows, width).

    Attributes:
        values: float32, float16, uint16 (the bits of bfloat16) or int8; it may be a view of a mapped file.
        scales: (rows,) float32, with int8 values.
    """

    values: NDArray
    scales: Floats | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.values.shape[0]

    @property
    def width(self) -> int:
        """Length of a row."""
        return self.values.shape[1]


@dataclass(frozen=True)
class Disentangled:
    """Relative positions of DeBERTa's attention in one layer.

    To the score of query i and key j (before the scaling, which is that of the whole) come ``q_i . keys[k]`` and
    ``k_j . queries[k]``, with ``k = index[i - j + longest - 1]`` and ``longest`` the greatest length.

    Attributes:
        index: (2 longest - 1,) int32 row of the relative position.
        keys: (rows, heads * head_size) projected relative embeddings; None where the model has no such term.
        queries: likewise for the term of the keys.
    """

    index: NDArray[np.int32]
    keys: Floats | None
    queries: Floats | None


@dataclass(frozen=True)
class EncoderLayer:
    """One layer. The number of heads follows from the outputs of ``query_key_value``.

    Attributes:
        query_key_value: linear layers of one input, whose outputs one after another are the queries of all heads, then
            the keys, then the values.
        attention_output: linear layer after attention.
        attention_norm: after the residual sum; with ``pre_norm`` before attention; None: there is none.
        up: linear layers of one input, whose outputs one after another are what the activation is applied to, then,
            with ``gated``, as many factors of the result.
        down: linear layer back to the width.
        output_norm: after the residual sum; with ``pre_norm`` before ``up``.
        window: keys further from a query than this are not seen; 0: all are.
        rotary: base of rotary positions (pairs i and i + head_size / 2); 0: none.
        disentangled: relative positions of DeBERTa.
    """

    query_key_value: tuple[Linear, ...]
    attention_output: Linear
    attention_norm: Norm | None
    up: tuple[Linear, ...]
    down: Linear
    output_norm: Norm | None
    window: int = 0
    rotary: float = 0.0
    disentangled: Disentangled | None = None


@dataclass(frozen=True)
class EncoderModel:
    """A whole encoder, from token ids to hidden states.

    Attributes:
        words: embedding of tokens.
        positions: (longest, size) of token 0, 1, ... of a text; None: positions are in the attention alone.
        types: (types, size); None: there are none.
        embedding_norm: of the sum of the three; None: there is none.
        projection: from the size of the embeddings to the width.
        layers: in order; ALBERT's are one object many times.
        final_norm: of the last hidden states.
        head_size: of an attention head.
        scale: of the products of queries and keys; usually ``head_size ** -0.5``.
        activation: between ``up`` and ``down``.
        gated: the second half of the outputs of ``up`` are factors.
        pre_norm: norms stand before attention and ``up``, not after the residual sums.
        bias: (heads, 2 longest - 1) added to the scores of query i and key j at ``j - i + longest - 1`` (MPNet).
        longest: greatest number of tokens of a text.
    """

    words: DenseTable | CompressedTable
    positions: Floats | None
    types: Floats | None
    embedding_norm: Norm | None
    projection: Linear | None
    layers: tuple[EncoderLayer, ...]
    final_norm: Norm | None
    head_size: int
    scale: float
    activation: Activation
    gated: bool
    pre_norm: bool
    bias: Floats | None
    longest: int

    @property
    def width(self) -> int:
        """Length of a hidden state."""
        return self.layers[0].down.out_features if self.layers else self.words.width


@dataclass(frozen=True)
class HeadStep:
    """A linear layer of a head, the activation after it, and the norm after that."""

    linear: Linear
    activation: Activation = "identity"
    norm: Norm | None = None


@dataclass(frozen=True)
class Head:
    """What turns hidden states into the outputs of a task.

    Attributes:
        pooling: the hidden state of a text that the steps start from: of its first token, or the mean of all. ``none``:
            the steps are applied to every token.
        steps: one after another; the last one gives the outputs.
    """

    pooling: Literal["first", "mean", "none"]
    steps: tuple[HeadStep, ...]

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return self.steps[-1].linear.out_features
