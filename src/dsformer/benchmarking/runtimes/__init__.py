"""Engines that run a model in a benchmark: PyTorch, the native runtime, ONNX Runtime, OpenVINO, CTranslate2.

``engine`` says what an engine does and has those that take padded batches. ``exported`` writes a dense model as an ONNX
file, which ``onnx`` and ``openvino`` run in float32 and int8; ``files`` runs files that are in the model's directory
already. ``ctranslate2`` and ``native`` read the directory themselves. Start reading with ``engine.py``.
"""
