"""Allocation: how many bits every block of a model gets, and which channels or dictionaries blocks keep or share.

It may import the layers below it in the contract of ``pyproject.toml``, from ``recipe`` down. Data flows as follows.
``plan.py`` takes a traced and calibrated model and returns a ``Plan``: a ``PlannedBlock`` (``planned_block.py``) with
metric and budget for every block. It divides the bits by ``budgets.py``, uniformly or by a greedy knapsack on predicted
error curves. With structured pruning ``structured_plan.py`` chooses heads and neurons instead, and divides the bits by
``structured_budget.py``. After the fit, ``basis_sharing.py`` lets neighbouring layers share a dictionary.
Start with ``plan_blocks`` in ``plan.py``.
"""
