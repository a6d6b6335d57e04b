"""ONNX Runtime and tokenizers: FILE TOKENIZER THREADS SENTENCE."""

import sys

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

path, vocabulary, threads, sentence = sys.argv[2:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
options.log_severity_level = 3
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
ids = np.array([Tokenizer.from_file(vocabulary).encode(sentence).ids])
arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
session.run(None, {one.name: arrays[one.name] for one in session.get_inputs()})[0].mean(1)
