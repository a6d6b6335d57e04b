"""Which activations a layer can compute itself, because nothing else reads what it says."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from dsformer.calibration.blocks import Block, first_output, hooked
from dsformer.layers.activation import activation_of

# How near the output must be to what it was, relative to its largest value, with activations moved into layers.
SAME = 1e-5


def absorbed(model: nn.Module, batch: Mapping[str, Any], blocks: Sequence[Block]) -> dict[str, str]:
    """By name of a lone layer, the name of the activation that reads its output.

    Found by running a batch, and by trying: the model's output must stay the same when the layer says the activated
    value and the activation passes it on.
    """
    pairs = _pairs(model, batch, blocks)
    reference = first_output(model, batch)
    if _same(model, batch, pairs, reference):
        return pairs
    return {layer: name for layer, name in pairs.items() if _same(model, batch, {layer: name}, reference)}


def _pairs(model: nn.Module, batch: Mapping[str, Any], blocks: Sequence[Block]) -> dict[str, str]:
    said: dict[int, str] = {}
    alive: list[Tensor] = []  # so that an identity names one tensor
    pairs: dict[str, str] = {}

    def say(name: str):
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
            alive.append(output)
            said[id(output)] = name

        return hook

    def read(name: str):
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            if args and id(args[0]) in said:
                pairs[said[id(args[0])]] = name

        return hook

    alone = [block for block in blocks if len(block.modules) == 1 and block.kind != "embedding"]
    handles = [block.modules[0].register_forward_hook(say(block.name)) for block in alone]
    handles += [
        module.register_forward_pre_hook(read(name))
        for name, module in model.named_modules()
        if activation_of(module) != "none"
    ]
    with hooked(handles):
        first_output(model, batch)
    return pairs


def _same(model: nn.Module, batch: Mapping[str, Any], pairs: Mapping[str, str], reference: Tensor) -> bool:
    passing = [False]

    def early(activation: nn.Module):
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
            passing[0] = False
            activated = activation(output)
            passing[0] = True
            return activated

        return hook

    def late(_module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        passes, passing[0] = passing[0], False
        return args[0] if passes else output

    handles = []
    for layer, name in pairs.items():
        activation = model.get_submodule(name)
        handles.append(model.get_submodule(layer).register_forward_hook(early(activation)))
        handles.append(activation.register_forward_hook(late))
    with hooked(handles):
        found = first_output(model, batch)
    return float((found - reference).abs().max()) <= SAME * float(reference.abs().max())
