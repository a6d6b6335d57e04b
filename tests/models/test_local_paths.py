"""Nothing that is published says where things are on the machine it was made on."""

from pathlib import Path

import pytest
from transformers import BertConfig, EncoderDecoderConfig

from dsformer.models.artefact import save
from dsformer.models.config import DSFormerConfig
from dsformer.models.local_paths import forget_places, strip_local_paths
from fixtures.models import compress, tiny_model


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/me/texts/mine.txt", "mine.txt"),
        ("~/texts/mine.txt", "mine.txt"),
        ("~me/texts/", "texts"),
        ("/home/me/my texts/a b.txt", "a b.txt"),
        (r"C:\Users\me\mine.txt", "mine.txt"),
        ("C:/Users/me/mine.txt", "mine.txt"),
        ("../mine/texts.txt", "texts.txt"),
        ("someone/some-model", "someone/some-model"),
        ("grouped(8)", "grouped(8)"),
        ("encoder.layer.*/x", "encoder.layer.*/x"),
        ("a/b ratio", "a/b ratio"),
        (
            "dsformer compress /home/me/model -o '/out/model' --text=/home/me/a.txt --task imdb,/x/y.csv",
            "dsformer compress model -o 'model' --text=a.txt --task imdb,y.csv",
        ),
        ("https://arxiv.org/abs/2312.13211", "https://arxiv.org/abs/2312.13211"),
    ],
)
def test_the_last_part_stays(text: str, expected: str):
    assert strip_local_paths({"a": [text, 1, None]}) == {"a": [expected, 1, None]}


def test_what_is_there_is_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert strip_local_paths("mine/model") == "mine/model"
    (tmp_path / "mine" / "model").mkdir()
    assert strip_local_paths("mine/model") == "model"


def test_a_configuration_keeps_them_to_itself():
    config = DSFormerConfig(summary={"model": "/home/me/x", "recipe": {"calibration": {"text": "/home/me/a.txt"}}})
    assert config.summary["model"] == "/home/me/x"
    assert config.to_dict()["summary"] == {"model": "x", "recipe": {"calibration": {"text": "a.txt"}}}


def test_an_artefact(tmp_path: Path):
    """Of a model that was loaded from a directory, and says so in all its configurations."""
    tiny_model("DistilBertForSequenceClassification").save_pretrained(tmp_path / "source")
    model = type(tiny_model("DistilBertForSequenceClassification")).from_pretrained(tmp_path / "source")
    compress(model)
    model.config.quantization_config.summary = {
        "model": str(tmp_path / "source"),
        "command": f"dsformer compress {tmp_path}/source -o {tmp_path}/out",
        "recipe": {"training": {"task": str(tmp_path / "task.csv")}},
    }
    assert_clean(save(model, tmp_path / "out"), tmp_path)
    loaded = type(model).from_pretrained(tmp_path / "out")
    loaded.save_pretrained(tmp_path / "again")
    assert_clean(tmp_path / "again", tmp_path)


def assert_clean(directory: Path, home: Path) -> None:
    for file in directory.rglob("*"):
        if file.is_file():
            assert str(home).encode() not in file.read_bytes(), file.name


def test_configurations_within_one():
    config = EncoderDecoderConfig(encoder=BertConfig().to_dict(), decoder=BertConfig().to_dict())
    config.encoder.name_or_path = config.decoder.name_or_path = "/home/me/model"
    assert "/home/me" in config.to_json_string()
    forget_places(config)
    assert "/home/me" not in config.to_json_string()
    assert config.encoder.name_or_path == "model"
