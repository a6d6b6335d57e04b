#!/usr/bin/env bash
# skeletoken 0.6.1 is to carry a tokenizer of transformers there and back "without silently dropping fields". What
# transformers itself keeps beside the tokenizer.json is dropped without a warning: which tokens begin and end texts, the
# separator, the side of the padding, the chat template. [CLS] and [SEP] come back as beginning and end in their place.
#
# Seen on 2026-11-30:
#   before: bos <s>, eos </s>, sep [SEP], cls [CLS], padding left, template True
#   after: bos [CLS], eos [SEP], sep None, cls None, padding right, template False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  skeletoken==0.6.1 transformers==5.23.0 tokenizers==0.23.3 pydantic==2.14.3
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/warned" | tee "$folder/seen"
from skeletoken import TokenizerModel
from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

tokens = ["[UNK]", "[CLS]", "[SEP]", "<s>", "</s>", "word"]
raw = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, "[UNK]"))
raw.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 1), ("[SEP]", 2)])
before = PreTrainedTokenizerFast(
    tokenizer_object=raw, unk_token="[UNK]", bos_token="<s>", eos_token="</s>", sep_token="[SEP]", cls_token="[CLS]",
    padding_side="left", chat_template="{{ messages }}",
)
after = TokenizerModel.from_transformers_tokenizer(before).to_transformers()
for when, one in (("before", before), ("after", after)):
    kinds = ", ".join(f"{kind} {getattr(one, f'{kind}_token')}" for kind in ("bos", "eos", "sep", "cls"))
    print(f"{when}: {kinds}, padding {one.padding_side}, template {one.chat_template is not None}")
PYTHON
diff "$folder/seen" - <<'SEEN'
before: bos <s>, eos </s>, sep [SEP], cls [CLS], padding left, template True
after: bos [CLS], eos [SEP], sep None, cls None, padding right, template False
SEEN
# That torch is not installed is said; nothing else may be.
if grep -v "PyTorch was not found" "$folder/warned"; then
  echo "there is a warning now"
  exit 1
fi
