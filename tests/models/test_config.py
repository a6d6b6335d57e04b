import json

import pytest
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING

from dsformer import __version__
from dsformer.errors import ArtefactError
from dsformer.format.schema import BlockConfig
from dsformer.format.spec import FormSpec
from dsformer.models.config import DSFormerConfig
from dsformer.models.expected_tensors import resolve_blocks
from dsformer.models.hf_quantizer import DSFormerQuantizer
from dsformer.models.plugin import register

BLOCK = BlockConfig.of("linear", [("a.b", 8)], FormSpec("input", 8, 16, atoms=4, nonzeros=2))


def test_round_trip_through_json():
    config = DSFormerConfig([BLOCK], summary={"ratio": 2.8})
    text = json.dumps(config.to_dict())
    again = DSFormerConfig.from_dict(json.loads(text))
    assert again.blocks == [BLOCK]
    assert json.dumps(again.to_dict()) == text == json.dumps(dict(config))
    assert again.package_version == __version__
    assert json.loads(config.to_json_string())["quant_method"] == "dsformer"
    assert "dsformer" in repr(config)


def test_what_it_gives_away_is_a_copy():
    config = DSFormerConfig([BLOCK], summary={"scores": []})
    config.to_dict()["summary"]["scores"].append(1)
    assert config.summary == {"scores": []}


def test_newer_formats_are_refused_by_name_whatever_else_they_hold():
    with pytest.raises(ArtefactError, match=r"newer DSFormer \(format 7\); upgrade: pip install -U dsformer"):
        DSFormerConfig(blocks={"a": 1}, format_version=7, quant_method="dsformer", galaxy=True)


def test_registering_again_does_nothing():
    register()
    register()
    assert AUTO_QUANTIZATION_CONFIG_MAPPING["dsformer"] is DSFormerConfig
    assert AUTO_QUANTIZER_MAPPING["dsformer"] is DSFormerQuantizer


def test_a_dense_model_cannot_be_compressed_by_loading_it():
    with pytest.raises(ValueError, match="pre-quantized"):
        DSFormerQuantizer(DSFormerConfig([BLOCK]), pre_quantized=False)


def test_half_a_block_is_refused():
    from torch import nn

    block = BlockConfig.of("linear", [("a", 8), ("b", 8)], FormSpec("input", 16, 16, atoms=4, nonzeros=2))
    with pytest.raises(ArtefactError, match="b: the model has no such module"):
        resolve_blocks(nn.ModuleDict({"a": nn.Linear(16, 8)}), [block])
    with pytest.raises(ArtefactError, match="nor any other"):
        resolve_blocks(nn.ModuleDict({"c": nn.Linear(16, 8)}), [block])
