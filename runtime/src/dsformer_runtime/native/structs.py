"""Structs of the C interface (``csrc/include/dsformer_encoder.h``)."""

import ctypes
from ctypes import POINTER, c_double, c_float, c_int32, c_int64, c_uint32, c_void_p

ACTIVATIONS = {"identity": 0, "gelu": 1, "gelu_tanh": 2, "relu": 3, "silu": 4, "tanh": 5}
POOLINGS = {"none": 0, "mean": 1, "cls": 2, "max": 3}
# By the type of an array: what its numbers are.
NUMBERS = {"float32": 1, "int8": 2, "float16": 3, "uint16": 4}


class MatrixStruct(ctypes.Structure):
    """``dsf_matrix``."""

    _fields_ = (
        ("type", c_int32),
        ("sparse", c_int32),
        ("rows", c_int64),
        ("columns", c_int64),
        ("values", c_void_p),
        ("scales", c_void_p),
    )


class LinearStruct(ctypes.Structure):
    """``dsf_linear_spec``."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("inner", MatrixStruct),
        ("outer", MatrixStruct),
        ("direct", MatrixStruct),
        ("bias", c_void_p),
    )


class NormStruct(ctypes.Structure):
    """``dsf_norm``."""

    _fields_ = (("present", c_int32), ("epsilon", c_float), ("gain", c_void_p), ("shift", c_void_p))


class LayerStruct(ctypes.Structure):
    """``dsf_layer``."""

    _fields_ = (
        ("query_key_value", POINTER(c_void_p)),
        ("query_key_value_count", c_int64),
        ("attention_output", c_void_p),
        ("attention_norm", NormStruct),
        ("up", POINTER(c_void_p)),
        ("up_count", c_int64),
        ("down", c_void_p),
        ("output_norm", NormStruct),
        ("window", c_int64),
        ("rotary", c_double),
        ("relative_index", c_void_p),
        ("relative_rows", c_int64),
        ("relative_keys", c_void_p),
        ("relative_queries", c_void_p),
    )


class TableStruct(ctypes.Structure):
    """``dsf_table``."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("dtype", c_int32),
        ("weights", c_int32),
        ("canonical", c_int32),
        ("units", c_int64),
        ("width", c_int64),
        ("atoms", c_int64),
        ("core", c_int64),
        ("nonzeros", c_int64),
        ("group", c_int64),
        ("field_bits", c_int32),
        ("of_set", c_int32),
        ("sets", c_int64),
        ("support_bytes", c_int64),
        ("dictionary", c_void_p),
        ("values", c_void_p),
        ("support", c_void_p),
        ("code_of", c_void_p),
        ("dictionary_scales", c_void_p),
        ("value_scales", c_void_p),
    )


class EncoderStruct(ctypes.Structure):
    """``dsf_encoder_spec``."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("activation", c_int32),
        ("gated", c_int32),
        ("pre_norm", c_int32),
        ("width", c_int64),
        ("embedding_size", c_int64),
        ("head_size", c_int64),
        ("longest", c_int64),
        ("scale", c_float),
        ("word_type", c_int32),
        ("word_rows", c_int64),
        ("words", c_void_p),
        ("word_scales", c_void_p),
        ("table", POINTER(TableStruct)),
        ("positions", c_void_p),
        ("types", c_void_p),
        ("type_rows", c_int64),
        ("embedding_norm", NormStruct),
        ("projection", c_void_p),
        ("layers", POINTER(LayerStruct)),
        ("layer_count", c_int64),
        ("final_norm", NormStruct),
        ("bias", c_void_p),
        ("bias_heads", c_int64),
    )
