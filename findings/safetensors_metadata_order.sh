#!/usr/bin/env bash
# safetensors 0.8.0 writes the entries of a file's metadata in an order that is drawn anew each time: the same tensors with
# the same two entries, saved several times, are files of different bytes. With one entry they are the same.
#
# Seen on 2026-11-30:
#   1 entry of metadata: 1 different file out of 40
#   2 entries of metadata: several different files out of 40
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/seen"
import numpy as np
from safetensors.numpy import save

tensors = {"a": np.arange(4, dtype=np.float32)}
for entries in ({"x": "1"}, {"x": "1", "y": "2"}):
    files = {save(tensors, entries) for _ in range(40)}
    number = "1 different file" if len(files) == 1 else "several different files"
    print(f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'} of metadata: {number} out of 40")
PYTHON
diff "$folder/seen" - <<'SEEN'
1 entry of metadata: 1 different file out of 40
2 entries of metadata: several different files out of 40
SEEN
