"""PyTorch and transformers: DIRECTORY TYPE THREADS SENTENCE, where an empty type leaves weights as they are stored."""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

directory, dtype, threads, sentence = sys.argv[2:]
if "quantization_config" in json.loads((Path(directory) / "config.json").read_text(encoding="utf-8")):
    import dsformer  # noqa: F401
torch.set_num_threads(int(threads))
tokenizer = AutoTokenizer.from_pretrained(directory)
model = AutoModel.from_pretrained(directory, dtype=getattr(torch, dtype) if dtype else "auto").eval()
with torch.inference_mode():
    model(**tokenizer(sentence, return_tensors="pt"))[0].mean(1)
