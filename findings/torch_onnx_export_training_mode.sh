#!/usr/bin/env bash
# torch 2.13.0: torch.onnx.export (dynamo=False) puts the parts of a module into the mode of the whole.
# A model in evaluation mode inside a new nn.Module, which is in training mode, is in training mode after the export, and
# its dropout is on. The exported graph itself is in evaluation mode.
#
# Seen on 2026-12-01:
#   before: False, after: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null | tail -1 | tee "$folder/seen"
import torch


class Wrapper(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5)).eval()
before = model.training
torch.onnx.export(Wrapper(model), (torch.ones(2, 4),), "model.onnx", dynamo=False)
print(f"before: {before}, after: {model.training}")
PYTHON
diff "$folder/seen" - <<'SEEN'
before: False, after: True
SEEN
