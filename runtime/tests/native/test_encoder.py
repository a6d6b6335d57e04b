"""Whole encoders of the native library against the reference, by every instruction set that runs here."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from random_models import (
    LONGEST,
    WORDS,
    change_layers,
    random_disentangled,
    random_encoder,
    random_floats,
    random_layer,
    random_linear,
    random_norm,
    random_words,
)

from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.model import EncoderModel, Floats
from dsformer_runtime.native.encoder import NativeEncoder
from dsformer_runtime.reference import ReferenceEncoder

LENGTHS = (1, 2, 15, 16, 17, 300, 600)
SHORT = (1, 2, 15, 16, 17, 40)
RANDOM = np.random.default_rng(0)


def batch(lengths: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(len(lengths))
    tokens = sum(lengths)
    return random.integers(0, WORDS, tokens, np.int32), random.integers(0, 2, tokens, np.int32)


def expected_of(model: EncoderModel, lengths: tuple[int, ...]) -> Floats:
    return ReferenceEncoder(model).run(*batch(lengths), np.array(lengths))


def compare(model: EncoderModel, lengths: tuple[int, ...], tolerance: float = 1e-4) -> None:
    found = NativeEncoder(model, 1).run(*batch(lengths), lengths)
    np.testing.assert_allclose(found, expected_of(model, lengths), atol=tolerance, rtol=0)


@pytest.mark.parametrize("head_size", [8, 12, 32, 64])
def test_attention(instruction_set: str, head_size: int):
    model = random_encoder(head_size, head_size, layers=1)
    for layer in (model, change_layers(model, rotary=1e4), change_layers(model, window=20)):
        compare(layer, LENGTHS)


@pytest.mark.parametrize("head_size", [8, 12, 64])
def test_relative_positions(instruction_set: str, head_size: int):
    random = np.random.default_rng(head_size)
    model = random_encoder(head_size, head_size, layers=1)
    compare(replace(model, bias=random_floats(random, 2, 2 * LONGEST - 1)), LENGTHS)
    both = random_disentangled(random, 2 * head_size)
    for relative in (both, replace(both, keys=None), replace(both, queries=None)):
        compare(change_layers(model, disentangled=relative), (*SHORT, 300))


def test_all_that_changes_scores_at_once(instruction_set: str):
    bias = random_floats(np.random.default_rng(0), 2, 2 * LONGEST - 1)
    compare(change_layers(random_encoder(1, 12, bias=bias), window=9, rotary=100.0), LENGTHS)


@pytest.mark.parametrize("head_size", [8, 12, 64])
def test_attention_of_bytes(instruction_set: str, head_size: int):
    """Beside products of bytes attention is rounded to bfloat16 where the CPU multiplies it."""
    model = random_encoder(3, head_size, layers=1)
    spoken = random_encoder(3, head_size, layers=1, number="int8").layers[0].query_key_value
    for changes in ({}, {"window": 20}, {"rotary": 1e4}):
        compare(change_layers(model, query_key_value=spoken, **changes), LENGTHS, 0.06)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_blocks(instruction_set: str, gated: bool, pre_norm: bool):
    model = random_encoder(2, gated=gated, pre_norm=pre_norm, final_norm=random_norm(RANDOM, 24))
    compare(model, SHORT)
    compare(change_layers(model, attention_norm=None, output_norm=None), SHORT, 1e-3)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "int8"])
def test_words(instruction_set: str, kind: str):
    random = np.random.default_rng(1)
    model = random_encoder(5, words=random_words(random, 24, kind))
    compare(model, SHORT)
    projected = replace(
        model,
        words=random_words(random, 10, kind),
        projection=random_linear(random, 24, 10),
        positions=None,
        types=None,
        embedding_norm=None,
    )
    compare(projected, SHORT)


def test_layers_differ_in_size(instruction_set: str):
    model = random_encoder(6)
    larger = random_layer(np.random.default_rng(6), 24, 130)
    compare(replace(model, layers=(model.layers[0], larger)), SHORT)


@pytest.mark.parametrize("number", ["float", "int8"])
def test_texts_are_alike_alone_and_in_a_batch(instruction_set: str, number: str):
    model = change_layers(random_encoder(7, 12, number=number), window=150)
    lengths = (*LENGTHS, 3, 96, 97)
    ids, types = batch(lengths)
    whole = NativeEncoder(model, 1).run(ids, types, lengths)
    for threads in (2, 3):
        assert (NativeEncoder(model, threads).run(ids, types, lengths) == whole).all()
    encoder = NativeEncoder(model, 2)
    stops = np.cumsum(lengths)
    for start, stop in zip(stops - lengths, stops, strict=True):
        alone = encoder.run(ids[start:stop], types[start:stop], [int(stop - start)])
        assert (alone == whole[start:stop]).all()


def test_pooling(instruction_set: str):
    model = random_encoder(8)
    encoder = NativeEncoder(model, 2)
    ids, types = batch(SHORT)
    texts = np.split(encoder.run(ids, types, SHORT), np.cumsum(SHORT)[:-1])
    for pooling, expected in (
        ("mean", [text.mean(0) for text in texts]),
        ("max", [text.max(0) for text in texts]),
        ("cls", [text[0] for text in texts]),
    ):
        np.testing.assert_allclose(encoder.run_pooled(ids, types, SHORT, pooling), expected, atol=1e-6)
        lengths = np.linalg.norm(encoder.run_pooled(ids, types, SHORT, pooling, normalize=True), axis=1)
        np.testing.assert_allclose(lengths, 1, rtol=1e-6)


def test_what_is_refused():
    encoder = NativeEncoder(random_encoder(9), 1)
    good = np.zeros(3, np.int32)
    for ids, types, lengths in (
        (np.array([0, 1, WORDS], np.int32), None, [3]),
        (np.array([-1, 0, 0], np.int32), None, [3]),
        (good, np.array([0, 0, 2], np.int32), [3]),
        (good, None, [3, 0]),
        (good, None, [2]),
        (np.zeros(LONGEST + 1, np.int32), None, [LONGEST + 1]),
    ):
        with pytest.raises(RuntimeInputError):
            encoder.run(ids, types, lengths)


@pytest.mark.parametrize("number", ["float", "int8"])
def test_calls_of_several_threads(number: str):
    encoder = NativeEncoder(random_encoder(10, number=number), 2)
    batches = [SHORT[: i + 1] for i in range(len(SHORT))] * 6
    expected = [encoder.run(*batch(lengths), lengths) for lengths in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda lengths: encoder.run(*batch(lengths), lengths), batches))
    assert all((one == other).all() for one, other in zip(found, expected, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_in_a_forked_child():
    encoder = NativeEncoder(random_encoder(11), 2)
    ids, types = batch(LENGTHS)
    expected = encoder.run(ids, types, LENGTHS)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if (encoder.run(ids, types, LENGTHS) == expected).all() else 2
        finally:
            os._exit(status)
    assert wait_for(child) == 0
    assert (encoder.run(ids, types, LENGTHS) == expected).all()


def wait_for(child: int, seconds: float = 60) -> int | None:
    """Return the exit code of a child process; None where it does not end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
