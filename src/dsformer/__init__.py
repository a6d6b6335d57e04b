"""DSFormer: make transformers smaller by writing each weight as a dense matrix times a semi-structured sparse one.

Importing this package lets ``transformers`` and ``sentence_transformers`` load compressed models.
"""

__version__ = "0.1.0"

from dsformer.huggingface.plugin import register

register()
