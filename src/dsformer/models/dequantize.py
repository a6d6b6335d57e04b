"""Dequantization of models that other libraries have quantized, to floating point."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel

from dsformer.errors import InputError, MissingExtraError
from dsformer.models.checkpoint import first_line
from dsformer.models.config import METHOD
from dsformer.models.pretrained import load_pretrained
from dsformer.nn.modules import replace_modules


def get_quantization_method(config: PretrainedConfig, compressed: bool = False) -> str | None:
    """Return the name of the method a model is quantized with; None if it is not quantized.

    Args:
        config: the model's configuration.
        compressed: accept a model that this package has compressed.

    Raises:
        InputError: this package has compressed the model, and ``compressed`` is false.
    """
    found = getattr(config, "quantization_config", None)
    if not found:
        return None
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    name = str(getattr(method, "value", method))
    if name == METHOD and not compressed:
        raise InputError("the model is compressed already; give the original one")
    return name


def dequantize(model: PreTrainedModel) -> PreTrainedModel:
    """Convert a quantized model to floating point; return any other model as it is.

    Dynamic int8 layers of torch and weights of torchao are converted here, since transformers cannot dequantize them.

    Raises:
        InputError: transformers cannot dequantize the model.
    """
    replace_modules(model, {module: _plain(module) for module in model.modules() if is_dynamic(module)})
    method = get_quantization_method(model.config)
    if method is None:
        return model
    try:
        # Some methods change the model, others return a new one.
        network = _without_torchao(model) if method == "torchao" else model.dequantize() or model
    except Exception as error:  # the library of a method may raise anything when it fails
        raise refusal(method, error) from error
    packed = next((name for name, one in network.named_parameters() if not one.is_floating_point()), None)
    if packed or get_quantization_method(network.config):
        raise refusal(method, f"{packed or 'it'} is still quantized")
    return network


def refuse_quantized(config: PretrainedConfig) -> None:
    """Refuse a quantized model, which cannot be trained as it is.

    Raises:
        InputError: the model is quantized.
    """
    if method := get_quantization_method(config):
        raise InputError(f"the model is quantized with {method} and cannot be trained; give the original one")


def refusal(method: str, why: object) -> InputError:
    """Build the error for a quantized model that cannot be loaded or dequantized."""
    reason = first_line(why) if isinstance(why, Exception) else why
    return InputError(f"the model is quantized with {method}, which cannot be turned to floating point here ({reason})")


def is_dynamic(module: nn.Module) -> bool:
    """Return whether a module is a linear layer of torch's dynamic int8 quantization."""
    kind = type(module)
    return kind.__name__ == "Linear" and kind.__module__.startswith("torch.ao.nn.quantized.dynamic")


def _plain(layer: Any) -> nn.Linear:
    """Build the dense layer of a dynamic int8 one."""
    weight, bias = layer.weight().dequantize(), layer.bias()
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    plain.weight = nn.Parameter(weight)
    if bias is not None:
        plain.bias = nn.Parameter(bias.detach())
    return plain


def _without_torchao(model: PreTrainedModel) -> PreTrainedModel:
    """Dequantize weights of torchao in place.

    They are tensors that know their own floating-point values, in ordinary layers.
    """
    for module in model.modules():
        for name, value in module.named_parameters(recurse=False):
            if type(value).__module__.startswith("torchao."):
                setattr(module, name, nn.Parameter(cast(Any, value).dequantize()))
    cast(Any, model).hf_quantizer.remove_quantization_config(model)
    return model


def from_gguf(path: Path) -> tuple[PreTrainedModel, Any]:
    """Load a model and its tokenizer from one GGUF file, in floating point.

    Raises:
        MissingExtraError: the package that reads such files is not installed.
        InputError: transformers cannot read the file.
    """
    if find_spec("gguf") is None:
        raise MissingExtraError("GGUF files", "gguf")
    place, file = path.parent, path.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=file)
        try:
            model = load_pretrained(AutoModelForCausalLM, place, gguf_file=file)
        except InputError:  # an architecture without a language modelling head
            model = load_pretrained(AutoModel, place, gguf_file=file)
    except Exception as error:  # a damaged file makes its reader raise anything
        raise InputError(f"{path}: cannot be read ({first_line(error)})") from error
    model.config.architectures = [type(model).__name__]
    return model, tokenizer
