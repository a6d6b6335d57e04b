#!/usr/bin/env bash
# skeletoken 0.6.1 takes a token out of a byte-pair vocabulary along with the merges that make it; where later parts of words
# have a prefix (continuing_subword_prefix), it looks for the two parts put together with that prefix, finds none, and leaves
# the merge: the tokenizer cannot be built any more. Without a prefix it can.
#
# Seen on 2026-11-30:
#   no prefix: ['a', 'b']
#   prefix ##: Exception: Token `ab` out of vocabulary
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  skeletoken==0.6.1 transformers==5.23.0 tokenizers==0.23.3 pydantic==2.14.3
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null | tee "$folder/seen"
from skeletoken import TokenizerModel
from tokenizers import Tokenizer, models

for name, second, options in (("no prefix", "b", {}), ("prefix ##", "##b", {"continuing_subword_prefix": "##"})):
    tokens, merges = {"a": 0, second: 1, "ab": 2}, [("a", second)]
    whole = Tokenizer(models.BPE(tokens, merges, **options))
    assert whole.encode("ab").tokens == ["ab"]
    less = TokenizerModel.from_tokenizer(whole).remove_token_from_vocabulary("ab")
    try:
        print(f"{name}: {less.to_tokenizer().encode('ab').tokens}")
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {str(error).partition(' at line')[0]}")
PYTHON
diff "$folder/seen" - <<'SEEN'
no prefix: ['a', 'b']
prefix ##: Exception: Token `ab` out of vocabulary
SEEN
