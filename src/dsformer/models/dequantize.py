"""Models that others have quantized, as the floating-point ones they stand for."""

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
    """How a model is quantized. Raises InputError for one that this package has ``compressed``, unless it may be."""
    found = getattr(config, "quantization_config", None)
    if not found:
        return None
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    name = str(getattr(method, "value", method))
    if name == METHOD and not compressed:
        raise InputError("the model is compressed already; give the original one")
    return name


def dequantize(model: PreTrainedModel) -> PreTrainedModel:
    """The model in floating point: itself, where it is already. Layers of torch's dynamic int8 are replaced, and
    weights of torchao, which transformers cannot turn back.

    Raises:
        InputError: transformers cannot turn it back.
    """
    replace_modules(model, {module: _plain(module) for module in model.modules() if is_dynamic(module)})
    method = get_quantization_method(model.config)
    if method is None:
        return model
    try:
        # Some change the model, some give another.
        network = _without_torchao(model) if method == "torchao" else model.dequantize() or model
    except Exception as error:  # whatever the libraries of a method raise where they cannot
        raise refusal(method, error) from error
    packed = next((name for name, one in network.named_parameters() if not one.is_floating_point()), None)
    if packed or get_quantization_method(network.config):
        raise refusal(method, f"{packed or 'it'} is still quantized")
    return network


def refuse_quantized(config: PretrainedConfig) -> None:
    """Raises InputError for a model that cannot be trained as it is."""
    if method := get_quantization_method(config):
        raise InputError(f"the model is quantized with {method} and cannot be trained; give the original one")


def refusal(method: str, why: object) -> InputError:
    """What to say of a quantized model that cannot be loaded, or not be turned back."""
    reason = first_line(why) if isinstance(why, Exception) else why
    return InputError(f"the model is quantized with {method}, which cannot be turned to floating point here ({reason})")


def is_dynamic(module: nn.Module) -> bool:
    """Whether it is a linear layer of torch's dynamic int8."""
    kind = type(module)
    return kind.__name__ == "Linear" and kind.__module__.startswith("torch.ao.nn.quantized.dynamic")


def _plain(layer: Any) -> nn.Linear:
    weight, bias = layer.weight().dequantize(), layer.bias()
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    plain.weight = nn.Parameter(weight)
    if bias is not None:
        plain.bias = nn.Parameter(bias.detach())
    return plain


def _without_torchao(model: PreTrainedModel) -> PreTrainedModel:
    """Its weights are tensors that know their own values; the layers are ordinary ones."""
    for module in model.modules():
        for name, value in module.named_parameters(recurse=False):
            if type(value).__module__.startswith("torchao."):
                setattr(module, name, nn.Parameter(cast(Any, value).dequantize()))
    cast(Any, model).hf_quantizer.remove_quantization_config(model)
    return model


def from_gguf(path: Path) -> tuple[PreTrainedModel, Any]:
    """A model and its tokenizer from one GGUF file, in floating point.

    Raises:
        MissingExtraError: the reader of such files is not installed.
        InputError: transformers cannot read it.
    """
    if find_spec("gguf") is None:
        raise MissingExtraError("GGUF files", "gguf")
    place, file = path.parent, path.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=file)
        try:
            model = load_pretrained(AutoModelForCausalLM, place, gguf_file=file)
        except InputError:  # an architecture without a language model
            model = load_pretrained(AutoModel, place, gguf_file=file)
    except Exception as error:  # a damaged file makes its reader raise anything
        raise InputError(f"{path}: cannot be read ({first_line(error)})") from error
    model.config.architectures = [type(model).__name__]
    return model, tokenizer
