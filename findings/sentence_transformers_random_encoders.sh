#!/usr/bin/env bash
# sentence-transformers 6.2.0 (with transformers 5.23.0) opens a checkpoint of Marian, M2M100, Pegasus, Blenderbot or
# ProphetNet as its encoder alone, but looks for the encoder's weights under names without the prefix that the whole model
# saves them with. None is found, and the encoder stays random without an error: two loads of one directory give
# different embeddings. Of T5 the weights are found.
#
# Seen on 2026-11-30:
#   M2M100Encoder: two loads agree: False
#   MarianEncoder: two loads agree: False
#   PegasusEncoder: two loads agree: False
#   T5EncoderModel: two loads agree: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null | tee seen
import torch
import transformers as T
from sentence_transformers.sentence_transformer.modules import Transformer
from tokenizers import Tokenizer, models

T.utils.logging.set_verbosity_error()
words = {"[UNK]": 0, "[PAD]": 1, **{f"w{i}": i + 2 for i in range(98)}}
tokenizer = T.PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel(words, "[UNK]")), unk_token="[UNK]", pad_token="[PAD]"
)
sizes = dict(vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
             decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=32,
             pad_token_id=1, eos_token_id=2, decoder_start_token_id=2)
for model in (
    T.M2M100ForConditionalGeneration(T.M2M100Config(**sizes)),
    T.MarianMTModel(T.MarianConfig(**sizes)),
    T.PegasusForConditionalGeneration(T.PegasusConfig(**sizes)),
    T.T5ForConditionalGeneration(T.T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=2)),
):
    place = type(model).__name__
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    with torch.no_grad():
        loads = [Transformer(place).model.eval() for _ in range(2)]
        first, second = (one(input_ids=torch.tensor([[5, 6, 7, 8]]))[0] for one in loads)
    print(f"{type(loads[0]).__name__}: two loads agree: {torch.equal(first, second)}")
PYTHON
diff seen - <<'SEEN'
M2M100Encoder: two loads agree: False
MarianEncoder: two loads agree: False
PegasusEncoder: two loads agree: False
T5EncoderModel: two loads agree: True
SEEN
