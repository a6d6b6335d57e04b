"""Encoders in PyTorch whose whole forward pass is one call of the native runtime."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling

from dsformer.errors import InputError
from dsformer.nn.cpu_linear import kernels_enabled
from dsformer.utils.tensor_cache import TensorCache
from dsformer_runtime.artefact.schema import parse_compression
from dsformer_runtime.artefact.tensors import Header, Tensors
from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.families.build import build_encoder, make_source
from dsformer_runtime.native.encoder import NativeEncoder

_TYPES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8"},
    torch.bool: "BOOL",
}
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def accelerate(model: nn.Module) -> nn.Module:
    """Have an encoder run natively in inference: embeddings, attention and all layers in one call.

    The weights are packed now, and again when one has changed. In training, with gradients, on another
    device, with hooks on modules, with arguments beyond ids, mask and types, and with padding on the left the model
    runs as before. Hidden states of padding are zero.

    Args:
        model: dense or compressed, of transformers or sentence-transformers. It is changed in place.

    Returns:
        The model.

    Raises:
        InputError: the runtime does not run models of this kind, or there is no native library.
    """
    base = _find_encoder(model)
    forward = NativeForward(base)
    try:
        forward.pack()
    except RuntimeInputError as error:
        raise InputError(str(error)) from None
    base.forward = forward
    return model


def accelerate_quietly(base: PreTrainedModel) -> None:
    """Accelerate an encoder, which goes on running as before where the runtime cannot run it."""
    base.forward = NativeForward(base)


class NativeForward:
    """The forward pass of an encoder, native where that is possible.

    Args:
        model: the encoder, without a head.
    """

    def __init__(self, model: PreTrainedModel):
        self._model = model
        self._native: TensorCache[NativeEncoder | None] = TensorCache()
        self.__signature__ = inspect.signature(type(model).forward.__get__(model))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the encoder; arguments are those of its class."""
        given = dict(zip(_INPUTS, args, strict=False))
        given |= {
            name: one for name, one in kwargs.items() if name == "return_dict" or not (one is None or one is False)
        }
        if len(args) <= 1 and self._fits(given):
            tensors, hooked = _survey(self._model)
            encoder = None if hooked else self._native.get(tensors, self._try_to_build)
            if encoder is not None:
                return self._run(encoder, given)
        return type(self._model).forward(self._model, *args, **kwargs)

    def pack(self) -> None:
        """Pack the weights as they are now.

        Raises:
            RuntimeInputError: the encoder cannot be run natively.
        """
        self._native.get(_survey(self._model)[0], lambda: _build(self._model))

    def _fits(self, given: dict[str, Any]) -> bool:
        """Return whether these inputs can be run natively, in this mode of the model."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return False
        config = self._model.config
        if self._model.training or config.output_hidden_states or getattr(config, "output_attentions", False):
            return False
        if set(given) - {*_INPUTS, "return_dict"} or not given.get("return_dict", True) or not kernels_enabled():
            return False
        ids = given.get("input_ids")
        if not isinstance(ids, Tensor) or ids.ndim != 2 or ids.device.type != "cpu":
            return False
        return self._ends_in_padding(ids, given.get("attention_mask"))

    def _ends_in_padding(self, ids: Tensor, mask: Any) -> bool:
        """Return whether every text begins at the first column, and all padding is masked."""
        if mask is not None and not (isinstance(mask, Tensor) and mask.shape == ids.shape):
            return False
        real = torch.ones_like(ids) if mask is None else mask
        if not bool((real[:, 1:] <= real[:, :-1]).all() and (real[:, 0] == 1).all()):
            return False
        # Models that count positions by the tokens that are not padding.
        padding = getattr(getattr(self._model, "embeddings", None), "padding_idx", None)
        return padding is None or not bool(((ids == padding) & real.bool()).any())

    def _try_to_build(self) -> NativeEncoder | None:
        try:
            return _build(self._model)
        except RuntimeInputError:
            return None

    def _run(self, encoder: NativeEncoder, given: dict[str, Any]) -> Any:
        ids = given["input_ids"]
        mask = given.get("attention_mask")
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        kinds = given.get("token_type_ids")
        encoder.threads = torch.get_num_threads()
        found = encoder.run(
            ids[real].int().numpy(), None if kinds is None else kinds[real].int().numpy(), real.sum(1).numpy()
        )
        hidden = torch.zeros(*ids.shape, encoder.width, dtype=self._model.dtype)
        hidden[real] = torch.from_numpy(found).to(hidden.dtype)
        if not hasattr(self._model, "pooler"):
            return BaseModelOutput(last_hidden_state=hidden)
        pooler: Any = self._model.pooler
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden, pooler_output=None if pooler is None else pooler(hidden)
        )


def _survey(model: nn.Module) -> tuple[tuple[Tensor, ...], bool]:
    """Return the tensors of a model, and whether somebody watches its modules.

    The hooks with which transformers records hidden states stay once they were used, and do not count.
    """
    tensors: list[Tensor] = []
    hooked = False
    for part in model.modules():
        tensors += [one for one in (*part._parameters.values(), *part._buffers.values()) if one is not None]
        for hook in (*part._forward_hooks.values(), *part._forward_pre_hooks.values()):
            hooked = hooked or not str(getattr(hook, "__module__", "")).startswith("transformers.")
    return tuple(tensors), hooked


def _find_encoder(model: nn.Module) -> PreTrainedModel:
    """Return the encoder without its head.

    Raises:
        InputError: there is none.
    """
    found = next((part for part in model.modules() if isinstance(part, PreTrainedModel)), None)
    if found is None:
        raise InputError(f"{type(model).__name__} has no encoder of transformers")
    base: Any = found.base_model
    return base


def _build(model: PreTrainedModel) -> NativeEncoder:
    """Pack an encoder as it is now.

    Raises:
        RuntimeInputError: it cannot be run natively.
    """
    config = model.config.to_dict()
    tensors = Tensors.of({name: _header(tensor) for name, tensor in model.state_dict().items()})
    return NativeEncoder(build_encoder(make_source(config, parse_compression(config).blocks, tensors, None)))


def _header(tensor: Tensor) -> Header:
    flat = tensor.detach().contiguous().reshape(-1)
    return Header(_TYPES[tensor.dtype], tuple(tensor.shape), flat.view(torch.uint8).numpy())
