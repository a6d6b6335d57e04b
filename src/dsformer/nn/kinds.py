"""Which modules are linear layers that compressed ones can take the place of."""

from torch import nn

# Subclasses of nn.Linear that compute what it does, by their full names: others may do something else.
_ALIKE = {"transformers.models.falcon.modeling_falcon.FalconLinear"}


def is_linear(module: nn.Module | None) -> bool:
    """Whether a module computes ``x W^T + bias`` and nothing else."""
    own = type(module)
    return own is nn.Linear or f"{own.__module__}.{own.__qualname__}" in _ALIKE
