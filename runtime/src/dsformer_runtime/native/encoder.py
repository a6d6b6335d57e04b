"""A whole encoder in the native library."""

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.model import (
    Activation,
    CompressedTable,
    EncoderLayer,
    EncoderModel,
    Floats,
    Integers,
    Linear,
    Norm,
    Pooling,
)
from dsformer_runtime.native.choice import pack_faster
from dsformer_runtime.native.linear import Arrays, NativeLinear, check, created, handles, load_library, stack_linears
from dsformer_runtime.native.structs import (
    ACTIVATIONS,
    NUMBERS,
    POOLINGS,
    EncoderStruct,
    LayerStruct,
    NormStruct,
    TableStruct,
)
from dsformer_runtime.native.threads import share_threads, usable_threads


class NativeEncoder:
    """An encoder packed for the instruction set in use. Any number of threads may run it at a time.

    Args:
        model: the encoder. Word embeddings stay where they are; linear layers are copied.
        threads: that a call may use; None: as many as this process may use.

    Raises:
        RuntimeInputError: there is no library, or sizes do not fit.
    """

    def __init__(self, model: EncoderModel, threads: int | None = None):
        self.width, self.longest = model.width, model.longest
        self.threads = usable_threads() if threads is None else threads
        self._library = load_library()
        self._arrays = Arrays()
        self._linears: dict[tuple[int, ...], tuple[Sequence[Linear], list[NativeLinear]]] = {}
        self._handle = created(self._library.dsf_encoder_create, self._spec(model), "the encoder")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.dsf_encoder_free(self._handle)

    @property
    def nbytes(self) -> int:
        """Bytes of packed linear layers."""
        return sum(one.nbytes for _, packed in self._linears.values() for one in packed)

    def run(self, ids: Integers, types: Integers | None, lengths: NDArray[np.integer] | Sequence[int]) -> Floats:
        """Return the last hidden states (tokens, width).

        Args:
            ids: (tokens,) of all texts, one after another.
            types: (tokens,) token types; None: all 0.
            lengths: tokens of every text.

        Raises:
            RuntimeInputError: an id is not in the table, or a text is empty or too long.
        """
        return self._run(ids, types, lengths, "none", False, len(ids))

    def run_pooled(
        self,
        ids: Integers,
        types: Integers | None,
        lengths: NDArray[np.integer] | Sequence[int],
        pooling: Pooling,
        normalize: bool = False,
    ) -> Floats:
        """Return one vector for every text (texts, width).

        Args:
            ids: (tokens,) of all texts, one after another.
            types: (tokens,) token types; None: all 0.
            lengths: tokens of every text.
            pooling: mean or maximum over the tokens, or the first token.
            normalize: to length 1.

        Raises:
            RuntimeInputError: as of :meth:`run`.
        """
        return self._run(ids, types, lengths, pooling, normalize, len(lengths))

    def run_linear(self, linear: Linear, x: Floats, activation: Activation = "identity") -> Floats:
        """Return activation(linear(x)) (rows, out) for x (rows, in).

        Args:
            linear: packed when it is first run.
            x: the inputs.
            activation: applied to the result.
        """
        return self._packed(linear).run(x, activation, self.threads)

    def _run(
        self,
        ids: Integers,
        types: Integers | None,
        lengths: NDArray[np.integer] | Sequence[int],
        pooling: str,
        normalize: bool,
        rows: int,
    ) -> Floats:
        ids = np.ascontiguousarray(ids, np.int32)
        kinds = None if types is None else np.ascontiguousarray(types, np.int32)
        starts = np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))]).astype(np.int64)
        if starts[-1] != len(ids) or (kinds is not None and len(kinds) != len(ids)):
            raise RuntimeInputError(f"{len(ids)} ids, where the lengths of the texts say {starts[-1]}")
        out = np.empty((rows, self.width), np.float32)
        share_threads(self._library)
        code = self._library.dsf_encoder_run(
            self._handle,
            ids.ctypes.data,
            None if kinds is None else kinds.ctypes.data,
            starts.ctypes.data,
            len(lengths),
            POOLINGS[pooling],
            normalize,
            out.ctypes.data,
            self.threads,
        )
        check(code, "ids of tokens, or lengths of texts")
        return out

    def _packed(self, linear: Linear) -> NativeLinear:
        return self._packed_stack([linear])[0]

    def _packed_stack(self, linears: Sequence[Linear]) -> list[NativeLinear]:
        """Return layers of one input packed; those of layers that are there twice (ALBERT) are packed once."""
        key = tuple(map(id, linears))
        if key not in self._linears:
            # The layers are kept too: their numbers could become those of other ones.
            self._linears[key] = (linears, [pack_faster(one) for one in stack_linears(linears)])
        return self._linears[key][1]

    def _norm(self, norm: Norm | None) -> NormStruct:
        if norm is None:
            return NormStruct()
        gain, shift = self._arrays.address(norm.gain, np.float32), self._arrays.address(norm.shift, np.float32)
        return NormStruct(1, norm.epsilon, gain, shift)

    def _layer(self, layer: EncoderLayer) -> LayerStruct:
        attention, up = self._packed_stack(layer.query_key_value), self._packed_stack(layer.up)
        made = LayerStruct(
            handles(attention),
            len(attention),
            self._packed(layer.attention_output).handle,
            self._norm(layer.attention_norm),
            handles(up),
            len(up),
            self._packed(layer.down).handle,
            self._norm(layer.output_norm),
            layer.window,
            layer.rotary,
        )
        if layer.disentangled is not None:
            relative = layer.disentangled
            tables = [table for table in (relative.keys, relative.queries) if table is not None]
            made.relative_index = self._arrays.address(relative.index, np.int32)
            made.relative_rows = min((len(table) for table in tables), default=0)
            made.relative_keys = self._arrays.address(relative.keys, np.float32)
            made.relative_queries = self._arrays.address(relative.queries, np.float32)
        return made

    def _spec(self, model: EncoderModel) -> EncoderStruct:
        spec = EncoderStruct(struct_size=ctypes.sizeof(EncoderStruct))
        spec.activation, spec.gated, spec.pre_norm = ACTIVATIONS[model.activation], model.gated, model.pre_norm
        spec.width, spec.head_size, spec.longest = model.width, model.head_size, model.longest
        spec.scale, spec.embedding_size = model.scale, model.words.width
        spec.word_rows = model.words.rows
        if isinstance(model.words, CompressedTable):
            spec.table = ctypes.pointer(self._table(model.words))
        else:
            spec.word_type = NUMBERS[str(model.words.values.dtype)]
            spec.words = self._arrays.address(model.words.values)
            spec.word_scales = self._arrays.address(model.words.scales, np.float32)
        spec.positions = self._arrays.address(model.positions, np.float32)
        spec.types = self._arrays.address(model.types, np.float32)
        spec.type_rows = 0 if model.types is None else len(model.types)
        spec.embedding_norm, spec.final_norm = self._norm(model.embedding_norm), self._norm(model.final_norm)
        if model.projection is not None:
            spec.projection = self._packed(model.projection).handle
        spec.layers = (LayerStruct * len(model.layers))(*map(self._layer, model.layers))
        spec.layer_count = len(model.layers)
        spec.bias = self._arrays.address(model.bias, np.float32)
        spec.bias_heads = 0 if model.bias is None else len(model.bias)
        return spec

    def _table(self, table: CompressedTable) -> TableStruct:
        address = self._arrays.address
        return TableStruct(
            ctypes.sizeof(TableStruct),
            0,
            {"float32": 0, "int8": 2}[str(table.values.dtype)],
            table.canonical,
            table.rows,
            table.width,
            len(table.dictionary),
            table.core,
            table.nonzeros,
            table.group,
            table.field_bits,
            table.of_set,
            table.sets,
            0 if table.support is None else len(table.support),
            address(table.dictionary),
            address(table.values),
            address(table.support, np.uint8),
            address(table.code_of, np.int64),
            address(table.dictionary_scales, np.uint16),
            address(table.value_scales, np.uint16),
        )
