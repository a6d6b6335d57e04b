#!/usr/bin/env bash
# mteb 2.26.24 seeds the global random generators of Python, NumPy and torch with 42, both when it is imported and whenever
# a task is looked up by name: what a program seeded before is forgotten, and runs of different seeds go on alike.
#
# Seen on 2026-11-30:
#   seed 1, seed 2: draws differ: True
#   after import mteb: draws differ: False
#   after mteb.get_task: draws differ: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  mteb==2.26.24 torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0 datasets==5.2.0 huggingface_hub==2.4.0
cat > "$folder/draw.py" <<'PYTHON'
import random
import sys

import numpy as np
import torch

seed, what = int(sys.argv[1]), sys.argv[2]
if what == "get_task":
    import mteb
random.seed(seed)
np.random.seed(seed)
torch.manual_seed(seed)
if what == "import":
    import mteb
if what == "get_task":
    mteb.get_task("STS12")
print(random.random(), np.random.rand(), torch.rand(1).item())
PYTHON
draws() { HF_HUB_OFFLINE=1 "$folder/venv/bin/python" -W ignore "$folder/draw.py" "$1" "$2" 2>/dev/null; }
differ() { if [ "$(draws 1 "$1")" = "$(draws 2 "$1")" ]; then echo False; else echo True; fi; }
{
  echo "seed 1, seed 2: draws differ: $(differ nothing)"
  echo "after import mteb: draws differ: $(differ import)"
  echo "after mteb.get_task: draws differ: $(differ get_task)"
} | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
seed 1, seed 2: draws differ: True
after import mteb: draws differ: False
after mteb.get_task: draws differ: False
SEEN
