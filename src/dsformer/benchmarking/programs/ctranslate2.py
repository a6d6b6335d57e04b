"""CTranslate2 and tokenizers: DIRECTORY TOKENIZER THREADS SENTENCE."""

import sys

import ctranslate2
import numpy as np
from tokenizers import Tokenizer

path, vocabulary, threads, sentence = sys.argv[2:]
encoder = ctranslate2.Encoder(path, device="cpu", intra_threads=int(threads), compute_type="int8")
ids = Tokenizer.from_file(vocabulary).encode(sentence).ids
np.array(encoder.forward_batch([ids]).last_hidden_state).mean(1)
