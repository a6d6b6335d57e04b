#!/usr/bin/env bash
# mteb 2.26.24 keeps results in a cache by default, under the name that a model's card gives it. All models that have none,
# as those trained or changed on one's own machine, are "no_model_name/available": the second of them is not run but gets
# the score of the first, without a warning.
#
# Seen on 2026-11-30:
#   default cache: words a to d 1.000, words a and b 1.000, word a 1.000
#   cache=None: words a to d 1.000, words a and b 0.632, word a 0.447
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  mteb==2.26.24 torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0 datasets==5.2.0 huggingface_hub==2.4.0
HF_HUB_OFFLINE=1 MTEB_CACHE="$folder/cache" "$folder/venv/bin/python" -W ignore - <<'PYTHON' 2>"$folder/warned" | tee "$folder/seen"
import datasets
import mteb
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import BoW


class Pairs(type(mteb.get_task("STSBenchmark"))):
    """The same task on four pairs."""

    def load_data(self, **options):
        columns = {
            "sentence1": ["a b", "b c", "c d", "d a"],
            "sentence2": ["a c", "b c", "a b", "d d"],
            "score": [1.0, 5.0, 0.0, 3.0],
        }
        self.dataset = {"default": datasets.DatasetDict(test=datasets.Dataset.from_dict(columns))}
        self.data_loaded = True


MODELS = {"words a to d": ["a", "b", "c", "d"], "words a and b": ["a", "b"], "word a": ["a"]}
for name, options in (("default cache", {}), ("cache=None", {"cache": None})):
    found = []
    for what, words in MODELS.items():
        model = SentenceTransformer(modules=[BoW(words)], device="cpu")
        result = mteb.evaluate(model, Pairs(), show_progress_bar=False, **options)
        found.append(f"{what} {result.task_results[0].get_score():.3f}")
    print(f"{name}: {', '.join(found)}")
PYTHON
diff "$folder/seen" - <<'SEEN'
default cache: words a to d 1.000, words a and b 1.000, word a 1.000
cache=None: words a to d 1.000, words a and b 0.632, word a 0.447
SEEN
if grep -i "cache" "$folder/warned"; then
  echo "there is a warning now"
  exit 1
fi
