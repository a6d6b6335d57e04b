import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from dsformer.calibration import calibrate, trace
from dsformer.errors import InputError

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


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"calibration cache: .*file/kept cannot be made: Not a directory"):
        Measuring(tmp_path / "file" / "kept")()


def test_without_a_directory_nothing_is_kept():
    measuring = Measuring(None)
    measuring()
    measuring()
    assert measuring.measured == 2
