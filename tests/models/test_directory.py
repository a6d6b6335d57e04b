import json
from pathlib import Path

import pytest

from dsformer.errors import InputError
from dsformer.models.directory import TRANSFORMER_CONFIGS, ModelDirectory


def write_modules(top: Path, *types: str, path: str = "") -> None:
    top.mkdir(parents=True, exist_ok=True)
    modules = [{"idx": i, "name": str(i), "path": path, "type": name} for i, name in enumerate(types)]
    (top / "modules.json").write_text(json.dumps(modules))


def test_a_plain_directory(tmp_path: Path):
    found = ModelDirectory.read(tmp_path)
    assert (found.top, found.place, found.task, found.holds_adapters) == (tmp_path, tmp_path, None, False)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert found.holds_adapters


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("sentence_transformers.models.Transformer", "feature-extraction"),
        ("sentence_transformers.base.modules.transformer.Transformer", "feature-extraction"),
        ("sentence_transformers.sparse_encoder.models.MLMTransformer", "fill-mask"),
        ("own_code.LongTransformer", "feature-extraction"),
    ],
)
def test_what_a_module_is_for_by_its_type(kind: str, task: str, tmp_path: Path):
    write_modules(tmp_path, kind, "sentence_transformers.models.Pooling", path="0_Transformer")
    found = ModelDirectory.read(tmp_path)
    assert (found.task, found.place) == (task, tmp_path / "0_Transformer")


@pytest.mark.parametrize("name", TRANSFORMER_CONFIGS)
def test_what_a_module_is_for_by_its_settings(name: str, tmp_path: Path):
    write_modules(tmp_path, "sentence_transformers.base.modules.transformer.Transformer")
    (tmp_path / name).write_text('{"transformer_task": "sequence-classification"}')
    assert ModelDirectory.read(tmp_path).task == "sequence-classification"


def test_code_of_its_own(tmp_path: Path):
    write_modules(tmp_path, "sentence_transformers.models.Transformer", "own_code.Head")
    assert not ModelDirectory.read(tmp_path).has_code  # of an installed package
    (tmp_path / "own_code.py").write_text("")
    assert ModelDirectory.read(tmp_path).has_code


def test_damaged_ones(tmp_path: Path):
    write_modules(tmp_path, "sentence_transformers.models.WordEmbeddings")
    with pytest.raises(InputError, match=r"no transformer \(sentence_transformers.models.WordEmbeddings\)"):
        ModelDirectory.read(tmp_path)
    write_modules(tmp_path, "sentence_transformers.models.Transformer")
    (tmp_path / "sentence_bert_config.json").write_text("[]")
    with pytest.raises(InputError, match="not a JSON object"):
        ModelDirectory.read(tmp_path)
    (tmp_path / "modules.json").write_text("{")
    with pytest.raises(InputError, match=r"modules.json: not JSON"):
        ModelDirectory.read(tmp_path)
