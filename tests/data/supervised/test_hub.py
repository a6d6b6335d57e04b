import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dsformer.data.supervised import load_task
from dsformer.errors import InputError, MissingExtraError

PAIR = {"sentence1": ["a"], "sentence2": ["b"], "label": [1]}
ANSWERS = [{"text": ["Jane"], "answer_start": [3]}]
SQUAD = {"question": ["Who?"], "context": ["By Jane."], "answers": ANSWERS, "id": ["q"]}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Splits by repository and configuration, in the place of the hub's."""
    content: dict = {}

    def load_dataset(repository: str, configuration: str | None, revision: str | None):
        return content[repository, configuration, revision]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return content


def test_glue(hub: dict):
    hub["nyu-mll/glue", "mrpc", None] = {"train": PAIR, "validation": PAIR, "test": PAIR}
    hub["nyu-mll/glue", "mnli", None] = {
        name: {"premise": ["p"], "hypothesis": ["h"], "label": [2]} for name in ("train", "validation_matched")
    }
    hub["nyu-mll/glue", "sst2", None] = {name: {"sentence": ["s"], "label": [0]} for name in ("train", "validation")}
    mrpc, mnli, sst2 = (load_task(name) for name in ("mrpc", "mnli", "sst2"))
    assert (mrpc.train.texts, mrpc.train.pairs, mrpc.held_out.targets) == (("a",), ("b",), (1,))
    assert (mnli.evaluation.pairs, mnli.labels[mnli.evaluation.targets[0]]) == (("h",), "contradiction")
    assert (sst2.evaluation.pairs, sst2.held_out) == (None, None)


def test_the_others(hub: dict):
    hub["rajpurkar/squad", None, None] = {"train": SQUAD, "validation": SQUAD}
    tokens = {"tokens": [["Jane", "!"]], "ner_tags": [[9, 0]]}
    hub["leondz/wnut_17", None, "refs/convert/parquet"] = dict.fromkeys(("train", "validation", "test"), tokens)
    hub["ucirvine/sms_spam", None, None] = {"train": {"sms": ["win"] * 5, "label": [1] * 5}}
    hub["Salesforce/wikitext", "wikitext-2-raw-v1", None] = {
        name: {"text": ["", " a \n"]} for name in ("train", "test")
    }
    assert load_task("squad").evaluation.targets == ((("Jane", 3),),)
    wnut = load_task("wnut17")
    assert (wnut.train.texts, wnut.labels[wnut.held_out.targets[0][0]]) == ((("Jane", "!"),), "B-person")
    assert len(load_task("sms_spam").evaluation) == 1
    assert load_task("wikitext2").train.texts == (" a \n",)


def test_a_folder_is_preferred(hub: dict, write, tmp_path: Path):
    write("glue-rte/dev.tsv", "sentence1\tsentence2\tlabel\nlocal\tb\t0\n")
    hub["nyu-mll/glue", "rte", None] = {"train": PAIR, "validation": PAIR}
    assert load_task("rte", tmp_path).evaluation.texts == ("local",)
    assert load_task("rte").evaluation.texts == ("a",)


def test_a_column_the_hub_lacks_is_named(hub: dict):
    hub["nyu-mll/glue", "rte", None] = {"train": {"sentence1": ["a"]}, "validation": PAIR}
    with pytest.raises(
        InputError, match=r"nyu-mll/glue \(rte\) on the hub has no column 'sentence2' in a split 'train'"
    ):
        load_task("rte")


def test_without_a_network_the_message_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(InputError) as caught:
        load_task("qqp", tmp_path)
    message = str(caught.value)
    assert message.startswith("nyu-mll/glue (qqp) cannot be loaded from the Hugging Face hub: ")
    assert message.endswith("; --data-dir may name a folder that holds it as 'glue-qqp' instead")
    assert "\n" not in message


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r'Loading rajpurkar/squad from the hub needs .*"dsformer\[train\]"'):
        load_task("squad")
