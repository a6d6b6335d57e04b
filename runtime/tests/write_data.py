"""Write ``data/``: the tokenizer of the golden artefacts, and vectors of one of them by sentence-transformers.

Run ``python runtime/tests/write_data.py`` with dsformer installed. The tests themselves need neither it nor PyTorch.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as kinds

import dsformer  # noqa: F401 (registers the artefact's format)

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"
sys.path.insert(0, str(ROOT / "tests"))
from fixtures.text import sentences, word_tokenizer  # noqa: E402


def main() -> None:
    """Write both files."""
    DATA.mkdir(exist_ok=True)
    texts = [*sentences(5), "", "zebra, " * 30]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(shutil.copytree(ROOT / "tests" / "golden" / "float32", Path(folder) / "model"))
        word_tokenizer(32).save_pretrained(place)
        modules = [kinds.Transformer(str(place)), kinds.Pooling(32, "mean"), kinds.Normalize()]
        vectors = SentenceTransformer(modules=modules, device="cpu").encode(texts)
        shutil.copyfile(place / "tokenizer.json", DATA / "tokenizer.json")
    np.savez(DATA / "sentences.npz", texts=np.array(texts), vectors=vectors)


if __name__ == "__main__":
    main()
