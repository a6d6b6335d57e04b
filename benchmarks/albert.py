"""A model whose layers are shared, compressed once and used in all of them: the ALBERT that reads reactions in SMILES.

    pip install --no-deps --target PACKAGES rxnmapper==0.4.3
    python benchmarks/albert.py PACKAGES/rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k --work WORK

Tokens are masked in reactions put together by ``smiles.py``, other ones than it is calibrated on; a head that tells
whether the product is the right one (or one like it, of another reaction of the same kind) is trained on further ones,
before compression and, on the factors, after it. Finished rows are kept in WORK. Speed is of eager PyTorch over that of
the model alone, in one run.
"""

import argparse
import random
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import AlbertConfig, AlbertForMaskedLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

import dsformer
from dsformer.models.checkpoint import weight_bytes
from dsformer.sweep.latency import measured as latencies
from dsformer.utils.atomic_io import Row
from finished import Finished
from smiles import reactions, with_products

# The pattern that rxnmapper takes reactions apart with.
TOKENS = r"\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$|\%[0-9]{2}|[0-9]"
# Reactions for each purpose.
CALIBRATED, MASKED, TOLD, LEARNED = 512, 400, 1000, 2000
# Passes over what is learned, before compression and after it.
DENSE_EPOCHS, EPOCHS = 3, 1
MASK_SHARE = 0.15


def write_albert(source: Path, directory: Path) -> None:
    """The model as transformers saves it now, with a tokenizer that needs no code of its own."""
    model = AlbertForMaskedLM(AlbertConfig.from_json_file(source / "config.json"))
    state = torch.load(source / "pytorch_model.bin", map_location="cpu", weights_only=True)
    missing, _ = model.load_state_dict(state, strict=False)
    if left := [name for name in missing if "position_ids" not in name and "decoder" not in name]:
        raise SystemExit(f"{source}: lacks {left[0]}")
    model.tie_weights()
    words = (source / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(TOKENS), "isolated")
    places = [(word, words.index(word)) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=places)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(directory)
    model.save_pretrained(directory)


@torch.inference_mode()
def masked_accuracy(model: PreTrainedModel, tokenizer: Any, texts: list[str]) -> float:
    """How often the token that was masked is the one that is said to be most likely, in percent."""
    draw, right, asked = random.Random(0), 0, 0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt").input_ids
        places = [i for i in range(1, ids.shape[1] - 1) if draw.random() < MASK_SHARE] or [1]
        wanted = ids[0, places].clone()
        ids[0, places] = tokenizer.mask_token_id
        right += int((model(input_ids=ids).logits[0, places].argmax(1) == wanted).sum())
        asked += len(places)
    return 100 * right / asked


def write_task(path: Path, told: list[tuple[str, str]]) -> None:
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in told))


@dataclass(frozen=True)
class Measured:
    """What models are made and measured with.

    Attributes:
        work: where models go.
        base: the model as it comes.
        told: the model with a head that has learned what products are right.
        calibration: reactions.
        held: other ones, to mask tokens of.
        learning: fields of a training recipe.
    """

    work: Path
    base: Path
    told: Path
    calibration: list[str]
    held: list[str]
    learning: dict[str, Any]

    def dense(self) -> Row:
        """The model alone."""
        model = AlbertForMaskedLM.from_pretrained(self.base).eval()
        return {"file": weight_bytes(self.base), "error": 0.0, "masked": self._masked(model)}

    def compressed(self, ratio: float) -> Row:
        """Both models at a ratio, the one with a head trained."""
        place, told = self.work / f"{ratio:g}", self.work / f"{ratio:g}-told"
        done = dsformer.compress(self.base, place, texts=self.calibration, ratio=ratio, overwrite=True)
        learning = {"train": "fixed", "epochs": EPOCHS, **self.learning}
        training = dsformer.compress(self.told, told, ratio=ratio, overwrite=True, training=learning).summary.training
        assert training is not None
        blocks = done.summary.encoder_blocks
        return {
            "file": weight_bytes(place),
            "masked": self._masked(dsformer.load(place)),
            "layers": sum(block.bytes_after for block in blocks),
            "layers_before": sum(block.bytes_before for block in blocks),
            "error": done.summary.mean_error,
            "told": training.trained,
            "factorized": training.factorized,
            "dense_told": training.dense,
        }

    def _masked(self, model: PreTrainedModel) -> float:
        return masked_accuracy(model, AutoTokenizer.from_pretrained(self.base), self.held)


def prepared(source: Path, work: Path) -> Measured:
    """The model and the reactions, and a dense model with a head that has learned on them."""
    base, told, task, held_task = work / "albert", work / "albert-told", work / "reactions.csv", work / "held.csv"
    if not base.is_dir():
        write_albert(source, base)
    found = reactions(CALIBRATED + MASKED + TOLD + LEARNED)
    texts = [text for text, _ in found]
    held = texts[CALIBRATED : CALIBRATED + MASKED]
    known = AutoTokenizer.from_pretrained(base).get_vocab()
    if unknown := {token for text in held for token in re.findall(TOKENS, text)} - set(known):
        raise SystemExit(f"the model does not know {unknown}")
    pairs = with_products(found[CALIBRATED + MASKED :])
    write_task(held_task, pairs[:TOLD])
    write_task(task, pairs[TOLD:])
    learning = {"task": str(task), "evaluation_file": held_task, "learning_rate": 1e-4}
    if not told.is_dir():
        dsformer.finetune(base, told, epochs=DENSE_EPOCHS, **learning)
    return Measured(work, base, told, texts[:CALIBRATED], held, learning)


def show(rows: list[Row], speeds: list[Any]) -> None:
    columns = "layers, bytes | file, bytes | error | masked tokens, top 1 | right products | and trained | speed"
    print(f"| ratio | {columns} |")
    print("|---|---|---|---|---|---|---|---|")
    for row, speed in zip(rows, speeds, strict=True):
        scores = " | ".join(f"{row[name]:.2f}" for name in ("masked", "factorized", "told"))
        print(f"| {row['ratio']:g} | {row['layers']:,} | {row['file']:,} | {row['error']:.4f} | {scores} | {speed} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="directory of rxnmapper's model")
    parser.add_argument("--work", type=Path, default=Path("albert"))
    parser.add_argument("--ratios", type=float, nargs="+", default=[1.5, 2.0, 2.8])
    parser.add_argument("--seconds", type=float, default=5.0, help="spent on timing each model; 0: none")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    measured, finished = prepared(args.source, args.work), Finished(args.work / "results.jsonl", "ratio")
    dense = finished.get(1.0, measured.dense)
    rows = [finished.get(ratio, partial(measured.compressed, ratio)) for ratio in args.ratios]
    told, layers = rows[0]["dense_told"], rows[0]["layers_before"]
    speeds: list[Any] = [""] * len(rows)
    if args.seconds > 0:
        speeds = latencies(str(measured.base), [str(args.work / f"{ratio:g}") for ratio in args.ratios], args.seconds)
    show([dense | {"factorized": told, "told": told, "layers": layers}, *rows], ["", *speeds])


if __name__ == "__main__":
    main()
