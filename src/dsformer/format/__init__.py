"""Compressed weights as data: shape, numbers, bytes and JSON description.

This package imports ``utils`` and ``errors`` only, and holds tensors but no modules. A weight is a ``Form``
(``form.py``): a ``FormSpec`` (``spec.py``), which is its shape and counts its bits, with a ``Pattern`` (``pattern.py``)
that constrains supports, and the numbers. ``quantized.py`` rounds a form to integers of the bits that ``precision.py``
names, and ``bitpacking.py`` packs these to bytes. ``indices.py`` derives supports, ``support_codec.py`` and
``ragged.py`` pack them (banked ones: ``dsformer_runtime.artefact.banked``). ``schema.py`` is the JSON description of a
block that an artefact stores. ``channels.py``, ``row_spans.py`` and ``accounting.py`` hold small records for structured
pruning, permutations and byte counts. Start with ``FormSpec``, then ``Form``.
"""
