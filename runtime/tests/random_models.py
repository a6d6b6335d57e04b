"""Random matrices, linear layers and encoders, tiny ones."""

from dataclasses import replace
from typing import Literal

import numpy as np

from dsformer_runtime.artefact.precision import round_bfloat16
from dsformer_runtime.model import (
    DenseTable,
    Disentangled,
    EncoderLayer,
    EncoderModel,
    Floats,
    Linear,
    Matrix,
    Norm,
)

Number = Literal["float", "int8"]
WORDS, LONGEST = 50, 600


def random_floats(random: np.random.Generator, *shape: int) -> Floats:
    return random.standard_normal(shape).astype(np.float32)


def random_matrix(
    random: np.random.Generator, rows: int, columns: int, number: Number = "float", density: float = 1.0
) -> Matrix:
    kept = random.random((rows, columns)) < density
    if number == "float":
        return Matrix(random_floats(random, rows, columns) * kept / np.float32(np.sqrt(columns * density)))
    values = random.integers(-127, 128, (rows, columns)).astype(np.int8) * kept
    scales = random.uniform(0.5, 1.5, rows) / (70 * np.sqrt(columns * density))
    return Matrix(values.astype(np.int8), scales.astype(np.float32))


def random_linear(
    random: np.random.Generator, rows: int, columns: int, number: Number = "float", density: float = 1.0
) -> Linear:
    return Linear(direct=random_matrix(random, rows, columns, number, density), bias=random_floats(random, rows))


def random_norm(random: np.random.Generator, width: int) -> Norm:
    return Norm(1e-5, 1 + random_floats(random, width) / 8, random_floats(random, width) / 8)


def random_words(random: np.random.Generator, width: int, kind: str = "float32") -> DenseTable:
    values = random_floats(random, WORDS, width)
    if kind == "int8":
        scales = np.abs(values).max(1) / 127
        return DenseTable(np.rint(values / scales[:, None]).astype(np.int8), scales)
    return DenseTable(round_bfloat16(values) if kind == "bfloat16" else values.astype(kind))


def random_disentangled(random: np.random.Generator, features: int, rows: int = 16) -> Disentangled:
    index = np.clip(np.arange(1 - LONGEST, LONGEST) + rows // 2, 0, rows - 1).astype(np.int32)
    return Disentangled(index, random_floats(random, rows, features) / 2, random_floats(random, rows, features) / 2)


def random_layer(
    random: np.random.Generator, width: int, inner: int, gated: bool = False, number: Number = "float"
) -> EncoderLayer:
    def linear(rows: int, columns: int) -> Linear:
        return random_linear(random, rows, columns, number)

    return EncoderLayer(
        query_key_value=(linear(2 * width, width), linear(width, width)),
        attention_output=linear(width, width),
        attention_norm=random_norm(random, width),
        up=(linear(inner * (2 if gated else 1), width),),
        down=linear(width, inner),
        output_norm=random_norm(random, width),
    )


def random_encoder(
    seed: int, head_size: int = 12, heads: int = 2, layers: int = 2, number: Number = "float", **changes: object
) -> EncoderModel:
    """Return an encoder; ``changes`` are fields of it that are not as usual."""
    random = np.random.default_rng(seed)
    width, inner = head_size * heads, 40
    model = EncoderModel(
        words=random_words(random, width),
        positions=random_floats(random, LONGEST, width) / 4,
        types=random_floats(random, 2, width) / 4,
        embedding_norm=random_norm(random, width),
        projection=None,
        layers=tuple(random_layer(random, width, inner, bool(changes.get("gated")), number) for _ in range(layers)),
        final_norm=None,
        head_size=head_size,
        scale=2 * head_size**-0.5,
        activation="gelu",
        gated=False,
        pre_norm=False,
        bias=None,
        longest=LONGEST,
    )
    return replace(model, **changes)


def change_layers(model: EncoderModel, **changes: object) -> EncoderModel:
    return replace(model, layers=tuple(replace(layer, **changes) for layer in model.layers))
