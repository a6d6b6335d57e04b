"""Hugging Face models: opening any source, loading compressed models into transformers, and saving them.

The package may import ``data``, ``nn``, ``ops``, ``format``, ``utils`` and ``errors``. ``source`` opens the model to
compress: ``directory`` finds its parts, ``architectures`` its class, ``pretrained`` loads it, ``adapter_merging``
merges adapters, and ``dequantize`` converts quantized weights. ``heads`` opens a model for a supervised task instead.
``artefact`` saves the compressed model and checks it, with ``auxiliary_files``, ``model_card`` and ``checksum``.
``from_pretrained`` loads it by ``plugin``, ``config`` and ``quantizer``, which check it with ``checkpoint``,
``expected_tensors`` and ``values``; ``load`` wraps these steps. Start reading with ``source.py``, then ``quantizer.py``
and ``artefact.py``.
"""
