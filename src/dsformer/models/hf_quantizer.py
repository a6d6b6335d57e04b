"""Quantizer of transformers for compressed models: how they are loaded, trained and saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel
from transformers.quantizers.base import HfQuantizer

from dsformer.errors import ArtefactError
from dsformer.format.schema import BlockConfig
from dsformer.models.casting import cast_model
from dsformer.models.checkpoint import read_headers, weight_files
from dsformer.models.checksum import check_record, make_record
from dsformer.models.config import DSFormerConfig
from dsformer.models.directory import MODULES
from dsformer.models.expected_tensors import check_stored, find_masks, resolve_blocks, stored_modules
from dsformer.models.local_paths import forget_places
from dsformer.models.tying import forget_tied, remember_tied
from dsformer.models.values import check_values
from dsformer.nn.compressed import StoredForm
from dsformer.nn.embedding import DenseSparseEmbedding
from dsformer.nn.parameters import INTEGERS
from dsformer.nn.replace import densify, install

_V5 = int(transformers.__version__.split(".")[0]) >= 5


class DSFormerQuantizer(HfQuantizer):
    """Quantizer that puts compressed modules into the empty model before its weights are loaded.

    The keys of a checkpoint are those of the modules, so transformers loads and saves them like any others. Damage is
    detected in three steps. Headers and values are checked before anything is allocated. Missing tensors, which would
    be left random, are detected after loading. Supports and permutations are checked once they are loaded.
    """

    requires_calibration = True
    quantization_config: DSFormerConfig

    def _process_model_before_weight_loading(
        self, model: PreTrainedModel, checkpoint_files: list[str] | None = None, **kwargs: Any
    ) -> PreTrainedModel:
        config = self.quantization_config
        files = _files(model, checkpoint_files)
        headers = read_headers(files)
        record = check_record(config, files[0].parent, headers) if files else None
        whole = type(model).__name__ in (getattr(model.config, "architectures", None) or ())
        config.blocks = resolve_blocks(model, config.blocks, headers, whole)
        install(model, config.blocks)
        for _, module in stored_modules(model):
            # The model's class has nothing to initialise: some classes read both sizes of a weight, which these lack.
            module.__dict__["_is_hf_initialized"] = True
        for part in model.modules():
            if isinstance(part, PreTrainedModel):
                _guard_tables(part)
        forget_tied(model)
        if files:
            check_stored(model, headers, whole)
        check_values(files, record, find_masks(model))
        return model

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> PreTrainedModel:
        for part in model.modules():
            part.__dict__.pop("_init_weights", None)
        for name, module in stored_modules(model):
            if _V5:
                _check_loaded(name, module)
            if module.weight.device.type != "meta":  # otherwise it is offloaded
                _restore_integers(module)
                try:
                    module.validate()
                except ArtefactError as error:
                    raise ArtefactError(f"{name}: {error}") from None
        mark(model, self.quantization_config)
        if model.base_model is model and (Path(model.config.name_or_path or "") / MODULES).is_file():
            # Of sentence-transformers: what its users run is the whole encoder.
            from dsformer.models.acceleration import accelerate_quietly

            accelerate_quietly(model)
        return model

    def update_missing_keys(self, model: PreTrainedModel, missing_keys: list[str], prefix: str) -> list[str]:
        """Check that no tensor of a compressed module is missing.

        transformers 4 calls this once it has compared the checkpoint's keys with the model's.

        Args:
            model: the model with its compressed modules.
            missing_keys: keys of the model that the checkpoint lacks; returned unchanged.
            prefix: the prefix of the base model; not used.

        Raises:
            ArtefactError: a tensor of a compressed module is missing.
        """
        compressed = {f"{name}.{key}" for name, module in stored_modules(model) for key in module.state_dict()}
        if missing := sorted(compressed.intersection(missing_keys)):
            raise ArtefactError(f"{missing[0]}: not in the checkpoint")
        return missing_keys

    def _dequantize(self, model: PreTrainedModel, dtype: Any = None) -> PreTrainedModel:
        densify(model)
        unmark(model)
        if dtype is not None:
            cast_model(model, dtype)
        return model

    def get_state_dict_and_metadata(
        self, model: PreTrainedModel, safe_serialization: bool | None = None
    ) -> tuple[None, dict[str, str]]:
        """Write the record of the model's tensors into its configuration; transformers calls this before saving.

        Returns:
            No state dict, as the model's is used, and no metadata.
        """
        if isinstance(config := getattr(model.config, "quantization_config", None), DSFormerConfig):
            forget_places(model.config)
            config.record = make_record(model)
        return None, {}

    def is_serializable(self, safe_serialization: bool | None = None) -> bool:
        """Return True: compressed models can be saved."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Whether compressed models can be trained: they can."""
        return True

    @property
    def is_qat_trainable(self) -> bool:
        """Whether compressed models can be trained with quantization: they can."""
        return True

    @property
    def is_compileable(self) -> bool:
        """Whether ``torch.compile`` takes compressed models: it does."""
        return True


def attach(model: PreTrainedModel, blocks: Sequence[BlockConfig], summary: dict[str, Any] | None = None) -> None:
    """Make a model whose modules have been replaced save itself as a compressed one.

    Args:
        model: the model after :func:`dsformer.nn.replace.install_forms`; changed in place.
        blocks: the blocks that were installed.
        summary: JSON values for reports and the model card.
    """
    config = DSFormerConfig(list(blocks), summary=summary)
    marked: Any = model
    marked.is_quantized = True
    marked.quantization_method = config.quant_method
    marked.hf_quantizer = DSFormerQuantizer(config)
    mark(model, config)


def mark(model: Any, config: DSFormerConfig) -> None:
    """Set in a model what saving it as a compressed one needs."""
    model.config.quantization_config = config
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            # As transformers does when it loads a quantized model; Mamba's code takes another path then.
            part.config._is_quantized = True
    forget_tied(model)
    # Conversions of checkpoint names that transformers 5 undoes when saving; compressed weights do not support them.
    model._weight_conversions = []


def unmark(model: Any) -> None:
    """Undo :func:`mark` for a model whose layers are dense again.

    Its tensor names and tied weights are those of its class then.
    """
    remember_tied(model)
    model.__dict__.pop("_weight_conversions", None)
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            part.config.__dict__.pop("_is_quantized", None)


def _files(model: PreTrainedModel, checkpoint_files: list[str] | None) -> list[Path]:
    """Return the weight files as far as they are known.

    transformers 4 passes none, but a local directory can be searched.
    """
    if checkpoint_files is not None:
        return [Path(file) for file in checkpoint_files]
    name = getattr(model.config, "name_or_path", "")
    directory = Path(name) if name else None
    return weight_files(directory) if directory is not None and directory.is_dir() else []


def _guard_tables(model: PreTrainedModel) -> None:
    """Keep the codes of embedding tables as they were loaded.

    Funnel sets the padding row of a table to zero whenever the model is loaded, and that row of the codes may be of any
    token.
    """
    initialise = model._init_weights

    def guarded(module: nn.Module) -> None:
        tables = [child for child in module.children() if isinstance(child, DenseSparseEmbedding)]
        kept = [(table.weight, table.weight.detach().clone()) for table in tables]
        initialise(module)
        for weight, values in kept:
            weight.data.copy_(values)

    model.__dict__["_init_weights"] = guarded


def _restore_integers(module: StoredForm) -> None:
    """Cast integers back to their types.

    transformers 5.0 casts even integers where a model keeps a layer in float32, as T5 does.
    """
    for key, dtype in INTEGERS.items():
        tensor = getattr(module, key)
        if tensor is not None and tensor.dtype == torch.float32:
            setattr(module, key, tensor.to(dtype))
    for key in ("weight", "dictionary") if module.precision else ():
        tensor = getattr(module, key)
        if tensor is not None and tensor.dtype != torch.int8:
            setattr(module, key, tensor.to(torch.int8))


def _check_loaded(name: str, module: StoredForm) -> None:
    """Check that every tensor of a compressed module has been loaded; transformers 5 marks those that have.

    Raises:
        ArtefactError: a tensor has not been loaded.
    """
    for key, tensor in module.state_dict(keep_vars=True).items():
        if tensor.device.type != "meta" and not getattr(tensor, "_is_hf_initialized", False):
            raise ArtefactError(f"{name}.{key}: not in the checkpoint")
