"""Factorization of single weights: tensors and a budget of bits go in, compressed forms come out.

It may import the layers below it, of which it needs only ``format``, ``utils`` and ``errors``. Data flows as follows.
A :class:`~dsformer.factorization.target.Target` (``target.py``) holds a weight and the ``Metric`` of its error
(``metric.py``). ``least_squares.py`` poses the problem in one of two orientations. ``dense_sparse.py`` solves it for a
given shape, with ``sparse_coding.py`` for the codes and ``support.py`` and ``grouping.py`` for their supports.
``search.py`` chooses the shape within the budget, and ``gptq.py`` quantizes the form. Other kinds of forms have solvers
of their own: ``low_rank.py``, ``double_sparse.py``, ``monarch.py``, ``shared_dictionary.py``, ``channel_removal.py``.
``methods`` has the methods a recipe can name. Start with ``methods/__init__.py``, then read ``search.py``.
"""
