#!/usr/bin/env bash
# sentence-transformers 6.2.0: its extra "onnx" cannot be installed.
# It needs transformers 5, and optimum-onnx, every version of which needs transformers below 4.58.
#
# Seen on 2026-12-01: pip ends with ResolutionImpossible.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
if "$folder/venv/bin/pip" install --dry-run --disable-pip-version-check "sentence-transformers[onnx]==6.2.0" >"$folder/said" 2>&1; then
  echo "it can be installed now"
  exit 1
fi
grep "ResolutionImpossible" "$folder/said"
grep -m 1 "optimum-onnx.* depends on transformers" "$folder/said"
