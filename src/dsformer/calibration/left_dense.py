"""What stays dense: every tensor of two dimensions or more that is in no block, with the reason."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from transformers.pytorch_utils import Conv1D

from dsformer.calibration.trace import Block, Tracing

# Everything that is neither a weight nor a table: too many tensors, and too small, to be named.
VECTORS = "norms, biases and other vectors"


@dataclass(frozen=True)
class LeftDense:
    """Tensors that stay as they are for one reason.

    Attributes:
        reason: in words.
        names: of the modules they are in; of the tensors where a module has others than a ``weight``.
        bytes: of all of them, at the stored type.
    """

    reason: str
    names: tuple[str, ...]
    bytes: int


def list_left_dense(model: nn.Module, tracing: Tracing, blocks: Collection[Block], bits: int) -> tuple[LeftDense, ...]:
    """List what stays dense by reason, the largest first.

    These tensors and those of the blocks add up to the model.

    Args:
        model: still dense.
        tracing: of the model.
        blocks: to compress.
        bits: of a stored floating-point value.
    """
    compressed = {id(tensor) for block in blocks for module in block.modules for tensor in module.parameters()}
    asked = {
        "excluded": tracing.excluded,
        "never ran on the calibration text": tracing.silent,
        "too small": tracing.small,
        "read by the model's own code": tracing.read,
        "their weight is that of other modules too": tracing.shared,
    }
    reasons = {name: reason for reason, names in asked.items() for name in names}
    found: dict[str, tuple[list[str], int]] = {}
    seen = set(compressed)
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        prefix, _, own = name.rpartition(".")
        shown = prefix if own == "weight" else name
        reason = VECTORS if tensor.ndim < 2 else reasons.get(prefix) or _kind(model.get_submodule(prefix), tensor)
        names, size = found.get(reason, ([], 0))
        each = bits // 8 if tensor.is_floating_point() else tensor.element_size()
        found[reason] = ([*names, shown] if reason != VECTORS else [], size + tensor.numel() * each)
    groups = (LeftDense(reason, tuple(names), size) for reason, (names, size) in found.items())
    return tuple(sorted(groups, key=lambda one: -one.bytes))


def _kind(module: nn.Module, tensor: Tensor) -> str:
    """Describe a weight that is not of the linear layers considered."""
    if isinstance(module, nn.Embedding):
        return "embedding tables"
    if isinstance(module, _ConvNd):
        return "convolutions"
    if isinstance(module, (nn.Linear, Conv1D)):
        return "linear layers of classes of their own"
    return "experts, several weights in one tensor" if tensor.ndim > 2 else "tensors that are no layers"
