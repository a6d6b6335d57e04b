"""Compressed models as Hugging Face directories."""

from dsformer.huggingface.artefact import check as check
from dsformer.huggingface.artefact import save as save
from dsformer.huggingface.config import DSFormerConfig as DSFormerConfig
from dsformer.huggingface.model_card import model_card as model_card
from dsformer.huggingface.plugin import register as register
from dsformer.huggingface.quantizer import DSFormerQuantizer as DSFormerQuantizer
from dsformer.huggingface.quantizer import attach as attach
