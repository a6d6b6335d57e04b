"""OpenVINO and tokenizers: FILE TOKENIZER THREADS SENTENCE."""

import sys

import numpy as np
from openvino import Core
from tokenizers import Tokenizer

path, vocabulary, threads, sentence = sys.argv[2:]
settings = {"INFERENCE_NUM_THREADS": int(threads), "INFERENCE_PRECISION_HINT": "f32"}
model = Core().compile_model(path, "CPU", settings)
ids = np.array([Tokenizer.from_file(vocabulary).encode(sentence).ids])
arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
model({one.get_any_name(): arrays[one.get_any_name()] for one in model.inputs})[0].mean(1)
