"""The pipeline: ``compress`` and ``finetune``, as stages from a model and a recipe to an artefact.

May import ``report``, ``allocation``, ``recipe``, ``training`` and all packages below them; ``benchmarking``, ``sweep``
and ``cli`` are above it. A ``Request`` and a ``State`` (``state``) pass through the list ``STAGES`` (``stages``): the
dense model is pruned in its vocabulary, fine-tuned and opened (``dense``), measured (``calibrate``), given budgets
(``allocate``), factorized block by block (``factorize``) and given compressed layers (``install``); the factors are
trained, quantized and scored (``train``, ``quantize``), and the artefact is written (``save``). ``workdir`` and
``checkpoints`` keep the work of an unfinished run. ``cost_estimate`` predicts time and memory, and ``distil`` trains a
finished artefact. Start reading at ``compress``, then ``stages``.
"""
