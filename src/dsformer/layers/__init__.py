"""Modules of the compressed forms, and how their tensors are packed."""

from dsformer.layers.blocks import BlockConfig as BlockConfig
from dsformer.layers.builder import densify as densify
from dsformer.layers.builder import install as install
from dsformer.layers.builder import install_forms as install_forms
from dsformer.layers.builder import read_forms as read_forms
from dsformer.layers.builder import round_factors as round_factors
from dsformer.layers.dense_sparse import DenseSparseLinear as DenseSparseLinear
from dsformer.layers.embedding import DenseSparseEmbedding as DenseSparseEmbedding
from dsformer.layers.embedding import TiedEmbedding as TiedEmbedding
from dsformer.layers.embedding import TiedHead as TiedHead
from dsformer.layers.packing import pack_permutation as pack_permutation
from dsformer.layers.packing import pack_support as pack_support
from dsformer.layers.packing import unpack_permutation as unpack_permutation
from dsformer.layers.packing import unpack_support as unpack_support
from dsformer.layers.stored import StoredForm as StoredForm
