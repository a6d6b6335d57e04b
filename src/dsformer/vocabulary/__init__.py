"""Vocabulary pruning: a model and its tokenizer reduced to the tokens of a corpus.

The package may import ``calibration``, ``models``, ``data``, ``nn``, ``ops``, ``format``, ``utils`` and ``errors``.
``tokens`` chooses the tokens to keep, among them those that ``ids`` finds in the model's configurations. ``tokenizer``
rewrites the tokenizer with new ids. ``rows`` selects the rows of the embedding table and the head, and ``ids``
renumbers the configurations. ``prune`` runs these steps, compares tokens and outputs with the original, and writes the
smaller model. ``stage`` runs ``prune`` before the other stages of a recipe. Start reading with ``prune.py``.
"""
