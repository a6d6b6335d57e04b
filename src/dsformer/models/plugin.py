"""Registration of the compressed format with transformers, so that ``from_pretrained`` loads compressed models."""

from transformers.quantizers.auto import (
    AUTO_QUANTIZATION_CONFIG_MAPPING,
    AUTO_QUANTIZER_MAPPING,
    register_quantization_config,
    register_quantizer,
)

from dsformer.models.config import METHOD, DSFormerConfig
from dsformer.models.hf_quantizer import DSFormerQuantizer


def register() -> None:
    """Register the configuration and the quantizer with transformers; a second call does nothing."""
    if METHOD not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        register_quantization_config(METHOD)(DSFormerConfig)
    if METHOD not in AUTO_QUANTIZER_MAPPING:
        register_quantizer(METHOD)(DSFormerQuantizer)
