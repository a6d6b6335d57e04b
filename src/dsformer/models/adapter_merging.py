"""Adapters of PEFT: merging them into the dense model that is to be compressed."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from dsformer.errors import InputError
from dsformer.models.adapters import require_peft
from dsformer.models.architectures import find_model_class, get_model_class
from dsformer.models.checkpoint import first_line
from dsformer.models.directory import ModelDirectory
from dsformer.models.pretrained import load_config, load_pretrained, load_tokenizer
from dsformer.nn.linear import DenseSparseLinear

logger = logging.getLogger(__name__)

# The Auto class of the model that adapters of a PEFT task type are trained in.
_CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "FEATURE_EXTRACTION": "AutoModel",
}
_PREFIX = "base_model.model."
# Largest change of the outputs by merging, relative to their norm: in float32, and in narrower types.
_SAME, _SAME_IN_FEWER_BITS = 1e-3, 0.1
_PROBE = 8


def merge_adapters(model: Any) -> PreTrainedModel | None:
    """Merge the adapters of a model in memory, and return the dense model; None if it has no adapters.

    Handles the model wrappers of PEFT, and the adapters that transformers' ``add_adapter`` puts into a model.

    Raises:
        InputError: the model is compressed already, or its adapters cannot be merged.
    """
    wrapped = type(model).__module__.startswith("peft.")
    if not wrapped and not getattr(model, "_hf_peft_config_loaded", False):
        return None
    if any(isinstance(module, DenseSparseLinear) for module in model.modules()):
        raise InputError("the model is compressed already; give the original one")
    return _merged(model, _unload if wrapped else _unload_native)


def open_adapters(
    directory: ModelDirectory, find_base: Callable[[str], ModelDirectory]
) -> tuple[PreTrainedModel, Any, bool]:
    """Open the base model of a directory of adapters, merge them into it, and load its tokenizer.

    Args:
        directory: the directory of the adapters.
        find_base: returns the directory of a model by its name.

    Returns:
        The merged model, its tokenizer, and whether the tokenizer is from the directory of the adapters.

    Raises:
        MissingExtraError: peft is not installed.
        InputError: the base model cannot be opened, or the adapters do not belong to it.
    """
    require_peft()
    import peft
    from peft.utils import load_peft_weights

    place = directory.place
    try:
        settings = peft.PeftConfig.from_pretrained(str(place))
        weights = load_peft_weights(str(place), device="cpu")
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise _unmerged(place, error) from error
    name = settings.base_model_name_or_path
    if not name:
        raise InputError(f"{place}: its adapters do not say which model they are of (base_model_name_or_path)")
    try:
        base = find_base(name)
        config = load_config(base.place)
        loader = _class_of(directory, base, settings, config)
        _fit_labels(loader, config, weights)
        heads = {key.removeprefix(_PREFIX) for key in weights}
        network = load_pretrained(loader, base.place, config=config, dtype="auto", new=lambda key, *_: key in heads)
    except InputError as error:
        raise InputError(f"{place}: its adapters cannot be merged into their model: {error}") from error
    try:
        adapted = peft.PeftModel.from_pretrained(network, str(place)).eval()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise _unmerged(place, error) from error
    _check_keys(place, peft.get_peft_model_state_dict(adapted, save_embedding_layers=False), weights)
    own = _has_tokenizer(place)
    return _merged(adapted, _unload), load_tokenizer(place if own else base.place), own


def _class_of(directory: ModelDirectory, base: ModelDirectory, settings: Any, config: PretrainedConfig) -> Any:
    """Return the class to open the base model in, which has the head that the adapters were trained with."""
    if directory.task is not None:
        return get_model_class(directory, config)
    kind = getattr(settings.task_type, "value", settings.task_type)
    if kind:
        return getattr(transformers, _CLASSES.get(kind, "AutoModel"))
    named = (settings.auto_mapping or {}).get("base_model_class")
    return (named and find_model_class(str(named), config)) or get_model_class(base, config)


def _fit_labels(loader: Any, config: PretrainedConfig, weights: Mapping[str, Tensor]) -> None:
    """Set the number of labels in the configuration to that of the head stored with the adapters."""
    try:
        with torch.device("meta"):
            build = loader.from_config if hasattr(loader, "from_config") else loader
            shapes = {name: tensor.shape for name, tensor in build(config).state_dict().items()}
    except (ValueError, KeyError, TypeError):  # the base model has no such head, which opening it reports
        return
    for key, tensor in weights.items():
        shape = shapes.get(key.removeprefix(_PREFIX))
        if shape is not None and shape != tensor.shape and shape[:1] == (config.num_labels,):
            config.num_labels = len(tensor)


def _check_keys(place: Path, own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Check that the stored tensors of the adapters are exactly those of the model.

    Raises:
        InputError: the file lacks a tensor of the model's adapters, or has one that the model does not have.
    """
    kept = {key for key in stored if "base_layer" not in key}
    wrong = sorted(kept ^ {key for key in own if "base_layer" not in key})
    if wrong:
        raise InputError(f"{place}: its adapters are not of this model, or not whole: {wrong[0]}")


def _has_tokenizer(place: Path) -> bool:
    return any(place.glob("tokenizer*"))


def _merged(model: Any, unload: Callable[[Any], PreTrainedModel]) -> PreTrainedModel:
    """Merge the adapters with ``unload``, and check on a few tokens that the outputs stay the same.

    Raises:
        InputError: the adapters cannot be merged, or merging changes the outputs.
    """
    model.eval()
    before = _output(model)
    try:
        _untie(model)
        plain = unload(model).eval()
    except (ValueError, AttributeError, NotImplementedError) as error:
        raise InputError(f"adapters of this kind cannot be merged into their model ({first_line(error)})") from error
    _tell_tying(plain)
    after = _output(plain)
    if before is not None and after is not None:
        most = _SAME if plain.dtype == torch.float32 else _SAME_IN_FEWER_BITS
        if not (after - before).norm() <= most * before.norm():
            raise InputError("the adapters change what the model says when they are merged; they cannot be compressed")
    return plain


def _unload(model: Any) -> PreTrainedModel:
    return model.merge_and_unload()


def _unload_native(model: Any) -> PreTrainedModel:
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    if not layers:
        raise ValueError("it has none in its layers")
    for name, layer in layers:
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    model._hf_peft_config_loaded = False
    del model.peft_config
    return model


def _untie(model: nn.Module) -> None:
    """Give a layer with adapters its own copy of a weight that it shares with another module."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    owners: dict[int, int] = {}
    for module in model.modules():
        if isinstance(weight := module._parameters.get("weight"), nn.Parameter):
            owners[id(weight)] = owners.get(id(weight), 0) + 1
    for module in model.modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        base = module.get_base_layer()
        weight = base._parameters.get("weight")
        if isinstance(weight, nn.Parameter) and owners[id(weight)] > 1:
            owners[id(weight)] -= 1
            base.weight = nn.Parameter(weight.detach().clone(), weight.requires_grad)
            logger.info("a table and a head are stored apart: adapters are of one of them alone")


def _tell_tying(model: PreTrainedModel) -> None:
    """Record in the configuration that a head with its own weight must not be tied again on loading."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or not isinstance(getattr(table, "weight", None), Tensor) or head.weight is table.weight:
        return
    for config in {id(one): one for one in (model.config, model.config.get_text_config())}.values():
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False
    expand = getattr(model, "get_expanded_tied_weights_keys", None)
    if expand is not None:
        model.all_tied_weights_keys = expand(all_submodels=True)


def _output(model: Any) -> Tensor | None:
    """Compute the output of a model for a few tokens as float32; None if the model needs other inputs."""
    vocabulary = getattr(model.config.get_text_config(), "vocab_size", None) or _PROBE
    ids = (torch.arange(2 * _PROBE) * 7 % vocabulary).view(2, _PROBE)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if getattr(model.config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = ids
    with suppress(Exception), torch.no_grad():  # a model that takes other inputs may raise anything
        return model(**inputs)[0].float()
    return None


def _unmerged(place: Path, error: Exception) -> InputError:
    return InputError(f"{place}: its adapters cannot be merged ({first_line(error)})")
