"""Who gets how many bits."""

from dsformer.allocation.budgets import Demand, balanced, uniform

__all__ = ["Demand", "balanced", "uniform"]
