"""Operators on compressed weights; importing this package registers them with PyTorch.

This package imports ``format``, ``utils`` and ``errors`` only. ``reference.py`` computes the products in plain PyTorch
and is the specification of every other kernel. ``schemas.py`` defines the operators with these kernels, with shapes
for tracing and with the gradients of ``autograd.py``. ``unpacking.py`` unpacks supports inside compiled graphs.
``packed.py`` defines operators on weights that a backend has packed, and ``cpu`` is such a backend: it loads the
native library and packs forms for it. Start with ``reference.py``, then ``schemas.py``.
"""

from dsformer.ops.schemas import dense_sparse_codes as dense_sparse_codes
from dsformer.ops.schemas import dense_sparse_embedding as dense_sparse_embedding
from dsformer.ops.schemas import dense_sparse_linear as dense_sparse_linear
