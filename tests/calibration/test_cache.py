import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from dsformer.calibration.calibrate import calibrate
from dsformer.calibration.trace import trace

TEXT = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])


class Measuring:
    """A model whose calibrations are counted."""

    def __init__(self, directory, seed=0):
        torch.manual_seed(seed)
        sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 128}
        self.model = BertForSequenceClassification(BertConfig(**sizes, vocab_size=400)).eval()
        self.directory, self.measured = directory, 0

    def __call__(self, ids=TEXT, weighting="auto", skip=0):
        batches = [{"input_ids": ids, "attention_mask": (ids > 0).long()}]
        tracing = trace(self.model, batches[0])
        blocks = tracing.blocks[skip:]

        def tick(done):
            self.measured += done == len(batches)

        return calibrate(self.model, batches, blocks, tracing.tables, weighting, tick, self.directory)


def test_the_same_is_measured_once(tmp_path):
    measuring = Measuring(tmp_path / "kept" / "here")
    first, second = measuring(), measuring()
    assert measuring.measured == 1
    assert second.tokens == first.tokens == 6
    for group in ("grams", "output_grams", "counts"):
        before, after = getattr(first, group), getattr(second, group)
        assert before.keys() == after.keys() != set()
        assert all(one.dtype == after[name].dtype and torch.equal(one, after[name]) for name, one in before.items())
    assert [path.suffix for path in (tmp_path / "kept" / "here").iterdir()] == [".safetensors"]


@pytest.mark.parametrize("change", ["text", "weighting", "blocks", "weights", "config"])
def test_anything_else_is_measured_anew(tmp_path, change):
    measuring = Measuring(tmp_path)
    measuring()
    if change == "weights":
        measuring.model.bert.encoder.layer[0].output.dense.weight.data[3, 4] += 1e-3
    if change == "config":
        measuring.model.config.hidden_act = "relu"
    others = {"text": {"ids": TEXT.flip(1)}, "weighting": {"weighting": "even"}, "blocks": {"skip": 1}}
    measuring(**others.get(change, {}))
    assert measuring.measured == 2


def test_a_file_cut_short_does_not_count(tmp_path):
    measuring = Measuring(tmp_path)
    first = measuring()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    second = measuring()
    assert measuring.measured == 2
    assert all(torch.equal(gram, second.grams[name]) for name, gram in first.grams.items())


def test_a_damaged_file_does_not_count(tmp_path):
    """Whatever byte is another, the sums of the text are measured again and the file is whole again."""
    measuring = Measuring(tmp_path)
    first = measuring()
    (path,) = tmp_path.iterdir()
    whole, header = path.read_bytes(), int.from_bytes(path.read_bytes()[:8], "little")
    places = [header + 8, header + 11, len(whole) - 1, (header + len(whole)) // 2, whole.index(b"tokens") + 9]
    for count, place in enumerate(places, 2):
        damaged = bytearray(whole)
        damaged[place] ^= 0x40 if place > header + 8 else 1
        path.write_bytes(damaged)
        again = measuring()
        assert measuring.measured == count, place
        assert again.tokens == first.tokens
        assert all(torch.equal(gram, again.grams[name]) for name, gram in first.grams.items())
    measuring()
    assert measuring.measured == count


def test_a_file_without_a_checksum_does_not_count(tmp_path):
    measuring = Measuring(tmp_path)
    measuring()
    (path,) = tmp_path.iterdir()
    save_file(load_file(path), path, {"tokens": "6"})
    measuring()
    assert measuring.measured == 2


def in_a_file(place):
    place.write_text("")
    return place / "kept"


def a_file_itself(place):
    place.write_text("")
    return place


def only_for_reading(place):
    """Root may write to any directory but those of the kernel."""
    return Path("/proc/kept") if os.geteuid() == 0 else (place.mkdir(mode=0o500), place)[1]


@pytest.mark.parametrize("make", [in_a_file, a_file_itself, only_for_reading])
def test_a_place_that_cannot_be_written(make, tmp_path, caplog):
    measuring = Measuring(make(tmp_path / "place"))
    assert measuring().tokens == 6
    (line,) = caplog.messages
    assert line.startswith(f"calibration cache: {measuring.directory} cannot be written (")
    assert line.endswith("; what was measured is not kept")


def test_a_full_disk(tmp_path, caplog):
    """As far as the process is concerned: no file may grow beyond some bytes."""
    resource = pytest.importorskip("resource")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        assert Measuring(tmp_path)().tokens == 6
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
    assert len(caplog.messages) == 1


def test_without_a_directory_nothing_is_kept():
    measuring = Measuring(None)
    measuring()
    measuring()
    assert measuring.measured == 2


def test_the_same_is_written_in_the_same_bytes(tmp_path: Path):
    written = []
    for name in "abcd":
        Measuring(tmp_path / name)()
        [file] = (tmp_path / name).iterdir()
        written.append(file.read_bytes())
    assert len(set(written)) == 1
