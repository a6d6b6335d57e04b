import json
from pathlib import Path

import pytest

from dsformer.errors import InputError
from dsformer.models.pooling import first_pooling, mean_pooling, read_pooling
from fixtures.training import write_sentence_encoder


@pytest.mark.parametrize(("mode", "expected"), [("mean_tokens", mean_pooling), ("cls_token", first_pooling)])
def test_one_switch_a_mode(mode: str, expected: object, tmp_path: Path):
    assert read_pooling(write_sentence_encoder(tmp_path / "m", mode)) is expected


@pytest.mark.parametrize(("mode", "expected"), [("mean", mean_pooling), ("cls", first_pooling)])
def test_the_mode_by_name(mode: str, expected: object, tmp_path: Path):
    directory = write_sentence_encoder(tmp_path / "m")
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({"embedding_dimension": 64, "pooling_mode": mode}))
    assert read_pooling(directory) is expected


def test_other_poolings_are_refused(tmp_path: Path):
    directory = write_sentence_encoder(tmp_path / "m", "max_tokens")
    with pytest.raises(InputError, match=r"mean and first-token pooling, not .*max_tokens"):
        read_pooling(directory)
    both = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(both))
    with pytest.raises(InputError, match="mean and first-token pooling"):
        read_pooling(directory)


def test_the_mean_where_nothing_is_said(tmp_path: Path):
    assert read_pooling(tmp_path) is mean_pooling
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert read_pooling(tmp_path) is mean_pooling
