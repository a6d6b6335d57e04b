#!/usr/bin/env bash
# huggingface_hub 2.4.0: a model card whose model-index has results of two models is written again with all of them under
# the name of the second, although nothing of it was changed.
#
# Seen on 2026-11-30:
#   before: small 0.7, large 0.9
#   after: large 0.7, large 0.9
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check huggingface_hub==2.4.0
"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/seen"
import yaml
from huggingface_hub import ModelCard

CARD = """---
model-index:
- name: small
  results:
  - task: {type: text-classification}
    dataset: {type: glue, name: GLUE}
    metrics: [{type: accuracy, value: 0.7}]
- name: large
  results:
  - task: {type: text-classification}
    dataset: {type: glue, name: GLUE}
    metrics: [{type: accuracy, value: 0.9}]
---
"""
for when, text in (("before", CARD), ("after", str(ModelCard(CARD)))):
    index = yaml.safe_load(text.split("---\n")[1])["model-index"]
    found = [(one["name"], metric["value"]) for one in index for part in one["results"] for metric in part["metrics"]]
    print(f"{when}: {', '.join(f'{name} {value}' for name, value in found)}")
PYTHON
diff "$folder/seen" - <<'SEEN'
before: small 0.7, large 0.9
after: large 0.7, large 0.9
SEEN
