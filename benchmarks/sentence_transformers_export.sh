#!/usr/bin/env bash
# Copies a sentence encoder and writes ONNX files into the copy, as users of sentence-transformers do by its documentation.
#
#     bash benchmarks/sentence_transformers_export.sh MODEL COPY [avx2|avx512|avx512_vnni|arm64]
#
# The versions have an environment of their own, since sentence-transformers[onnx] needs transformers below 4.58.
set -euo pipefail
model=$1 copy=$2 processor=${3:-avx512_vnni}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "sentence-transformers[onnx]==5.7.0" transformers==4.57.6
cp -rL "$model" "$copy"
"$folder/venv/bin/python" - "$copy" "$processor" <<'PYTHON'
import sys

from sentence_transformers import (
    SentenceTransformer,
    export_dynamic_quantized_onnx_model,
    export_optimized_onnx_model,
)

directory, processor = sys.argv[1:]
settings = {"provider": "CPUExecutionProvider", "export": True}
encoder = SentenceTransformer(directory, backend="onnx", device="cpu", model_kwargs=settings)
encoder.save_pretrained(directory)
export_optimized_onnx_model(encoder, "O3", directory)
export_dynamic_quantized_onnx_model(encoder, processor, directory)
PYTHON
ls "$copy/onnx"
