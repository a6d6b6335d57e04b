"""Baselines: pruning and low-rank methods of the literature that dense x sparse is compared with.

They import the modules of ``factorization`` and ``methods/base.py``, but no other method. Every file has one or a few
``Method`` objects, which ``methods/__init__.py`` enters in ``METHODS``. ``pruning.py`` has magnitude pruning, Wanda,
SparseGPT (whose algorithm is in ``sparsegpt.py``) and pruning by ADMM. ``oats.py`` has low rank plus sparse.
``rocket.py`` has dense x sparse in one step. ``structured.py`` has the removal of heads, neurons and layers. Start with
``pruning.py``: its ``chosen`` shows how a method makes a form within a budget.
"""
