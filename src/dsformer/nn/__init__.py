"""PyTorch modules of compressed weights, and their installation in a model.

This package imports ``ops``, ``format``, ``utils`` and ``errors`` only. ``parameters.py`` names the stored tensors
(``StoredTensors``), and ``compressed.py`` reads a form from them and writes one to them (``StoredForm``). The layers
are in ``linear.py`` (``DenseSparseLinear``) and ``embedding.py`` (``DenseSparseEmbedding``). They run by the native
kernels (``cpu_linear.py``, ``cpu_embedding.py``), by the cheapest way in PyTorch (``strategy.py``) or by the operators,
and ``shared_input.py`` computes once what layers with the same input share. ``replace.py`` puts the modules into a
model and takes them out, with ``modules.py`` and, for layers narrowed by structured pruning, ``resize.py``. Start with
``linear.py``, then ``parameters.py``.
"""
