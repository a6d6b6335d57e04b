#!/usr/bin/env bash
# transformers 5.23.0: AutoTokenizer makes a tokenizer of five special tokens for a BERT directory without tokenizer files.
# There is no error and no warning; every word becomes [UNK], and a model run with it sees texts of unknown tokens.
#
# Seen on 2026-11-30:
#   BertTokenizer with 5 tokens: ['[CLS]', '[UNK]', '[UNK]', '[UNK]', '[SEP]']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/warned" | tee "$folder/seen"
from transformers import AutoTokenizer, BertConfig

BertConfig().save_pretrained("model")
tokenizer = AutoTokenizer.from_pretrained("model")
tokens = tokenizer.convert_ids_to_tokens(tokenizer("a small river")["input_ids"])
print(f"{type(tokenizer).__name__} with {len(tokenizer)} tokens: {tokens}")
PYTHON
diff "$folder/seen" - <<'SEEN'
BertTokenizer with 5 tokens: ['[CLS]', '[UNK]', '[UNK]', '[UNK]', '[SEP]']
SEEN
# That torch is not installed is said; nothing else may be.
if grep -v "PyTorch was not found" "$folder/warned"; then
  echo "there is a warning now"
  exit 1
fi
