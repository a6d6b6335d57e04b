"""Who gets how many bits."""

from dsformer.allocation.budgets import Demand, balanced, largest_ratio, uniform

__all__ = ["Demand", "balanced", "largest_ratio", "uniform"]
