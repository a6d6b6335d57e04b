"""Measurements on the dense model: its blocks, the second moments of their inputs and outputs, and its symmetries.

May import ``models``, ``data``, ``nn`` and the packages below them. ``batching`` tokenizes the calibration text.
``trace`` runs the model once and groups the layers that read the same input into blocks; ``replaceable`` leaves out
those that cannot be replaced by other modules. ``calibrate`` runs all batches and measures Gram matrices: plain
(``second_moments``) or Kronecker-factored (``kfac``), read from a file where ``cache`` has them. Allocation then asks
for ``sensitivity``, for rows that may change places (``symmetry``), for heads and neurons that can be pruned
(``removable``) and for what stays dense (``left_dense``). ``config`` holds the settings. Start reading at ``trace``,
then ``calibrate``.
"""
