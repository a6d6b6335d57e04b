"""Files: headers, supports, blocks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsformer_runtime.artefact.directory import child_directory, read_json, weight_files
from dsformer_runtime.artefact.schema import parse_blocks, parse_compression
from dsformer_runtime.artefact.spec import Pattern, Spec
from dsformer_runtime.artefact.supports import (
    check_support,
    unpack_groups,
    unpack_integers,
    unpack_permutation,
    unpack_support,
    write_out,
)
from dsformer_runtime.artefact.tensors import Tensors
from dsformer_runtime.errors import RuntimeInputError

DRAW = np.random.default_rng(0)


def write(path: Path, header: Any, data: bytes) -> Path:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_tensors(tmp_path: Path):
    values = np.array([1, -2, 0.5], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    header = {"__metadata__": {}, "b": entry("BF16", [3], 0, 6), "a": entry("F32", [3, 1], 6, 18)}
    tensors = Tensors([write(tmp_path / "model.safetensors", header, bits.tobytes() + values.tobytes())])
    assert sorted(tensors) == ["a", "b"]
    assert tensors.stored("b").dtype == np.uint16
    assert tensors.floats("b").tolist() == tensors.floats("a", (3, 1))[:, 0].tolist() == [1, -2, 0.5]
    with pytest.raises(RuntimeInputError, match="shape"):
        tensors.floats("a", (3,))
    with pytest.raises(RuntimeInputError, match="not in the weights"):
        tensors.floats("c")


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b"[" * 100_000,
        {"a": 1},
        {"a": entry("F32", [2], 0, 4)},
        {"a": entry("F32", [2], 4, 12)},
        {"a": entry("F32", [1], 0, 4)},
        {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 0, 8)},
        {"a": entry("F32", [-2], 0, 8)},
        {"a": entry("F32", [2**61, 2**61], 0, 8)},
        {"a": entry("F4", [2], 0, 8)},
        {"a": entry("F32", [4], 0, 16)},
        {"a": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}},
    ],
)
def test_damaged_headers(header: Any, tmp_path: Path):
    with pytest.raises(RuntimeInputError, match=r"damaged|cut short|not read"):
        Tensors([write(tmp_path / "model.safetensors", header, b"\0" * 8)])


@pytest.mark.parametrize("length", [0, 7, 8, 20])
def test_short_files(length: int, tmp_path: Path):
    file = tmp_path / "model.safetensors"
    file.write_bytes((1 << 40).to_bytes(8, "little")[:length] + b"{" * (length - 8))
    with pytest.raises(RuntimeInputError):
        Tensors([file])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_impossible_numbers(value: float, tmp_path: Path):
    header = {"a": entry("F32", [2], 0, 8)}
    tensors = Tensors([write(tmp_path / "model.safetensors", header, np.array([0, value], np.float32).tobytes())])
    with pytest.raises(RuntimeInputError, match="NaN"):
        tensors.floats("a")


def test_directories(tmp_path: Path):
    with pytest.raises(RuntimeInputError, match=r"no model\.safetensors"):
        weight_files(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(RuntimeInputError, match="pickled"):
        weight_files(tmp_path)
    for name in ("../elsewhere", "/etc", 3, "a\0b"):
        with pytest.raises(RuntimeInputError):
            child_directory(tmp_path, name)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(RuntimeInputError, match="not JSON"):
        read_json(tmp_path / "deep.json")
    index = tmp_path / "model.safetensors.index.json"
    for named, what in (("../a.safetensors", "not the name"), ("a.safetensors", "missing")):
        index.write_text(json.dumps({"weight_map": {"a": named}}))
        with pytest.raises(RuntimeInputError, match=what):
            weight_files(tmp_path)


def pack(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits.reshape(-1).astype(np.uint8), bitorder="little")


def fields(values: np.ndarray, width: int) -> np.ndarray:
    return (values[..., None] >> np.arange(width)) & 1


def choose(groups: int, candidates: int, count: int) -> np.ndarray:
    """The chosen candidates of every group, ascending."""
    order = np.argsort(DRAW.random((groups, candidates)), axis=1)[:, :count]
    return np.sort(order, axis=1)


SPECS = {
    "mask": Spec("input", 21, 40, atoms=13, core=2, nonzeros=6),
    "index": Spec("input", 21, 40, atoms=13, nonzeros=3, canonical=True),
    "grouped": Spec("output", 40, 24, atoms=30, nonzeros=4, pattern=Pattern(group=4)),
}


@pytest.mark.parametrize("name", SPECS)
def test_supports(name: str):
    spec = SPECS[name]
    chosen = choose(spec.groups, spec.candidates, spec.nonzeros)
    mask = np.zeros((spec.groups, spec.candidates), bool)
    np.put_along_axis(mask, chosen, True, axis=1)
    packed = pack(mask if spec.encoding == "mask" else fields(chosen, spec.field_bits))
    assert spec.encoding == ("mask" if name == "mask" else "index")
    assert (unpack_support(spec, packed) == mask).all()
    check_support(spec, packed)
    some = np.array([3, 0, spec.groups - 1, 3])
    assert (unpack_groups(spec, packed, some) == mask[some]).all()
    values = DRAW.standard_normal(spec.code_shape).astype(np.float32)
    dense = write_out(unpack_support(spec, packed), values, spec, None)
    columns = spec.core + np.repeat(chosen, spec.pattern.group, axis=0)
    assert (np.take_along_axis(dense, columns, axis=1) == values[:, spec.core :]).all()
    assert np.count_nonzero(dense) == values.size
    for place in range(len(packed)):
        damaged = packed.copy()
        damaged[place] ^= 0x10
        for read in (unpack_support, check_support):
            try:
                read(spec, damaged)
            except RuntimeInputError as error:
                assert "support" in str(error)  # noqa: PT017


@pytest.mark.parametrize(("n", "m", "encoding"), [(2, 4, "mask"), (2, 8, "index")])
def test_n_of_m(n: int, m: int, encoding: str):
    sets = 16 // m
    spec = Spec("input", 60, 20, atoms=16, nonzeros=sets * n, pattern=Pattern(n=n, m=m))
    within = np.stack([choose(60, m, n) for _ in range(sets)], axis=1)
    mask = np.zeros((60, 16), bool)
    for group, own in enumerate(within):
        for number, chosen in enumerate(own):
            mask[group, chosen * sets + number] = True
    # Two fields of two bits are as long as a mask of four bits, which is what is stored then.
    assert spec.encoding == encoding
    packed = pack(mask if encoding == "mask" else fields(within, 3))
    assert (unpack_support(spec, packed) == mask).all()
    assert (unpack_groups(spec, packed, np.array([7, 59])) == mask[[7, 59]]).all()


def test_permutations():
    spec = Spec("input", 12, 20, atoms=10, nonzeros=2, pattern=Pattern(group=4), permuted=True)
    labels = DRAW.permutation(np.repeat(np.arange(3), 4))
    order = unpack_permutation(spec, pack(fields(labels, 2)))
    assert labels[order].tolist() == sorted(labels)
    with pytest.raises(RuntimeInputError, match="groups"):
        unpack_permutation(spec, pack(fields(np.where(labels == 0, 1, labels), 2)))


@pytest.mark.parametrize("bits", range(2, 9))
def test_integers(bits: int):
    whole = DRAW.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (5, 11))
    stream = fields(whole & (2**bits - 1), bits).reshape(5, -1).astype(np.uint8)
    packed = np.packbits(stream, axis=1, bitorder="little")
    assert (unpack_integers(packed, 5, 11, bits) == whole).all()


GOOD = {
    **{"kind": "linear", "members": [{"name": "a", "out_features": 8}], "in_features": 6, "orientation": "input"},
    **{"atoms": 4, "nonzeros": 2},
}


def test_blocks():
    (block,) = parse_blocks([GOOD])
    assert block.specs()[0].candidates == 4
    wrong: list[dict[str, Any]] = [
        {"atoms": True},
        {"atoms": 2**31},
        {"atoms": 100},
        {"nonzeros": 5},
        {"kind": "conv2d"},
        {"extra": 1},
        {"members": []},
        {"pattern": "banked(7)"},
        {"code_bits": 1},
        {"code_bits": 8},
        {"entries": [0]},
        {"core": 1, "entries": [4]},
        {"in_features": 0},
        {"members": [{"name": "a", "out_features": 8}, {"name": "a", "out_features": 8}]},
    ]
    for change in wrong:
        with pytest.raises(RuntimeInputError):
            parse_blocks([{**GOOD, **change}])


def test_other_formats():
    for stored, what in (
        ({"quant_method": "awq"}, "awq.*PyTorch"),
        ({"quant_method": "dsformer", "format_version": 2}, "newer"),
        ({"quant_method": "dsformer", "more": 2}, "unknown"),
        ([], "object"),
    ):
        with pytest.raises(RuntimeInputError, match=what):
            parse_compression({"quantization_config": stored})
    assert parse_compression({}).blocks == ()
