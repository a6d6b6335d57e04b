"""Operators of the compressed forms; importing this registers them with PyTorch."""

from dsformer.ops.schemas import dense_sparse_codes as dense_sparse_codes
from dsformer.ops.schemas import dense_sparse_embedding as dense_sparse_embedding
from dsformer.ops.schemas import dense_sparse_linear as dense_sparse_linear
