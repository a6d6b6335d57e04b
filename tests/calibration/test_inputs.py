import pytest
import torch
import transformers

from dsformer.calibration.inputs import NO_LIMIT, longest_input
from fixtures.models import tiny_model

SMALL = {"vocab_size": 50, "num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
SHORT = {**SMALL, "max_position_embeddings": 20}
DECODED = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 50, "max_position_embeddings": 20}


@pytest.mark.parametrize(
    ("name", "fields", "length"),
    [
        ("Bert", SHORT, 20),
        ("Roberta", SHORT, 18),
        ("MPNet", SHORT, 18),
        ("Bart", DECODED, 20),
        ("GPT2", {"vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 20}, 20),
    ],
)
def test_the_longest_input_of_a_model(name: str, fields: dict, length: int):
    config = getattr(transformers, f"{name}Config")(**fields)
    model = getattr(transformers, f"{name}Model")(config).eval()
    assert longest_input(model) == length
    ids = torch.full((1, length + 1), 5)
    with torch.no_grad():
        model(input_ids=ids[:, :-1])
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=ids)


def test_models_without_a_limit():
    xlnet = transformers.XLNetModel(
        transformers.XLNetConfig(vocab_size=50, d_model=16, n_layer=1, n_head=2, d_inner=16)
    )
    assert longest_input(xlnet) == longest_input(tiny_model("T5ForConditionalGeneration")) == NO_LIMIT
