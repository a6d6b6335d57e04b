"""Native runtime: DIRECTORY TYPE THREADS SENTENCE, where an empty type leaves weights as they are stored."""

import sys

from dsformer_runtime import SentenceEncoder

directory, dtype, threads, sentence = sys.argv[2:]
SentenceEncoder(directory, dtype=dtype or None, threads=int(threads)).encode([sentence])
