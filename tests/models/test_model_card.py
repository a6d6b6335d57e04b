import datetime
from pathlib import Path

import pytest
import yaml

from dsformer.models.auxiliary_files import read_card_metadata
from dsformer.models.model_card import model_card

SUMMARY = {
    "model": "someone/some-model",
    "method": "dense_sparse",
    "pattern": "grouped(8)",
    "encoder_ratio": 2.8,
    "total_ratio": 1.634,
    "original_encoder_ratio": 11.21,
    "bytes_before": 1_234_567,
    "bytes_after": 456_789,
    "mean_error": 0.2345,
    "calibration_tokens": 65536,
    "recipe": {"ratio": 2.8},
    "scores": [{"task": "banking77", "metric": "accuracy", "dense": 92.34, "compressed": 91.9}],
}
# As of all-MiniLM-L6-v2, with what else cards have.
SOURCE = {
    "language": "en",
    "license": "apache-2.0",
    "library_name": "sentence-transformers",
    "base_model": "nreimers/MiniLM-L6-H384-uncased",
    "tags": ["sentence-transformers", "compression"],
    "datasets": ["s2orc", "flax-sentence-embeddings/stackexchange_xml"],
    "pipeline_tag": "sentence-similarity",
    "widget": [{"source_sentence": "Was für ein Tag", "sentences": ["a", "b"]}],
    "thumbnail": None,
    "model-index": [{"name": "m", "results": [{"task": {"type": "sts"}}]}],
    "eval_results": "none yet",
    "ignore_metadata_errors": True,
    "trained": datetime.date(2024, 2, 29),
}


def header(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_it_says_what_is_known():
    card = model_card(SUMMARY, "sentence-transformers", {"license": "apache-2.0"})
    assert header(card) == {
        "library_name": "sentence-transformers",
        "base_model": "someone/some-model",
        "base_model_relation": "quantized",
        "license": "apache-2.0",
        "tags": ["dsformer", "compression"],
    }
    for text in (
        "# some-model, compressed with DSFormer",
        "Method: dense_sparse, pattern grouped(8).",
        "| 2.80x |",
        "| the same over the layers as they came | 11.21x |",
        "| bytes after | 456,789 |",
        "| banking77 | accuracy | 92.34 | 91.9 |",
        "ratio: 2.8",
        "65,536 tokens",
        "That of the base model: apache-2.0.",
        "SentenceTransformer(",
    ):
        assert text in card, text


def test_what_the_base_models_card_says_survives():
    found = header(model_card(SUMMARY, "transformers", SOURCE))
    kept = {name: value for name, value in SOURCE.items() if name not in ("model-index", "eval_results", "thumbnail")}
    assert found == kept | {
        "library_name": "transformers",
        "base_model": "someone/some-model",
        "base_model_relation": "quantized",
        "tags": ["dsformer", "compression", "sentence-transformers"],
    }
    assert list(found)[:3] == ["library_name", "base_model", "base_model_relation"]
    # What was compressed is on this machine alone: the model that it came from is the one to name.
    local = header(model_card({"model": "./mine"}, "transformers", SOURCE | {"tags": "one"}))
    assert local == kept | {"library_name": "transformers", "tags": ["dsformer", "compression", "one"]}


def test_a_licence_has_its_own_name():
    card = model_card({}, source={"license": "other", "license_name": "llama3", "license_link": "LICENSE"})
    assert header(card)["license_link"] == "LICENSE"
    assert "That of the base model: llama3." in card


def test_it_says_nothing_that_is_not_known():
    card = model_card({})
    assert header(card) == {"library_name": "transformers", "tags": ["dsformer", "compression"]}
    assert card.count("## ") == 0
    assert "None" not in card


def test_a_command_is_preferred_to_a_recipe():
    card = model_card(SUMMARY | {"command": "dsformer compress a -o b"})
    assert "```sh\ndsformer compress a -o b\n```" in card
    assert "```yaml" not in card


@pytest.mark.parametrize("place", ["/home/me/models/minilm", "./minilm", "~/models/minilm", "../a/minilm/"])
def test_paths_of_this_machine_stay_here(place: str):
    card = model_card({"model": place})
    assert "base_model" not in header(card)
    assert "Base model: `minilm`." in card
    assert place.rsplit("/", 2)[0] not in card.replace("path/to/", "") or place.startswith((".", "~"))


def test_text_cannot_break_the_tables():
    scores = [{"task": "a|b\nc", "metric": "m", "dense": 1, "compressed": 0.123456}]
    assert "| a\\|b c | m | 1 | 0.1235 |" in model_card({"scores": scores})


CARDS = {
    "---\nlicense: mit\nlanguage: [en, de]\nfoo: 1\n---\n# X": {"license": "mit", "language": ["en", "de"], "foo": 1},
    "\ufeff---\r\nlicense: mit\r\n---\r\n# X": {"license": "mit"},
    "---\nlicense: mit\n---": {"license": "mit"},
    "---\nlicense: mit\n1: 2\n---\n": {"license": "mit"},
    "---\nlicense: [\n---\n": {},
    "---\ndate: 2024-99-99\n---\n": {},
    f"---\na: {'[' * 5000}\n---\n": {},
    "---\njust text\n---\n": {},
    "---\n---\n": {},
    "---\n\n---\n": {},
    "# No header": {},
    "": {},
}


@pytest.mark.parametrize(("text", "expected"), CARDS.items())
def test_what_the_base_model_says_of_itself(text: str, expected: dict, tmp_path: Path):
    (tmp_path / "README.md").write_text(text)
    assert read_card_metadata(tmp_path) == expected


def test_a_card_that_is_not_text(tmp_path: Path):
    (tmp_path / "README.md").write_bytes("---\nauthor: José\n---\n".encode("latin-1"))
    assert read_card_metadata(tmp_path) == {}


def test_a_base_model_without_a_card(tmp_path: Path):
    assert read_card_metadata(tmp_path) == {}
