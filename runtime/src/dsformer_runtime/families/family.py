"""What a family of encoders is: names of its modules and of its settings.

A family is one short file beside this one. Names of layers are relative to the layer; all others to the base model
(``bert.`` may stand before them in a file or not).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsformer_runtime.families.source import Source


@dataclass(frozen=True)
class LayerNames:
    """Modules of one layer; the fields are those of :class:`dsformer_runtime.model.EncoderLayer`."""

    query_key_value: tuple[str, ...]
    attention_output: str
    attention_norm: str
    up: tuple[str, ...]
    down: str
    output_norm: str


@dataclass(frozen=True)
class StepNames:
    """One step of a head.

    Attributes:
        name: of its linear layer.
        activation: after it. ``config:KEY`` names a field of the configuration.
        norm: after the activation.
        in_base: the layer belongs to the base model, with whose prefix it is stored.
    """

    name: str
    activation: str = "identity"
    norm: str | None = None
    in_base: bool = False


@dataclass(frozen=True)
class HeadNames:
    """A head: where it starts (``first``, ``mean``, ``none``: see ``Head``, or ``config:KEY``), and its steps."""

    pooling: str
    steps: tuple[StepNames, ...]


@dataclass(frozen=True)
class Settings:
    """Names of the fields of ``config.json``."""

    width: str = "hidden_size"
    heads: str = "num_attention_heads"
    layers: str = "num_hidden_layers"
    activation: str = "hidden_act"
    epsilon: str = "layer_norm_eps"
    longest: str = "max_position_embeddings"


def classifier(*before: StepNames, pooling: str = "first", last: str = "classifier") -> dict[str, HeadNames]:
    """Return the heads of most families: one for whole texts, two for every token.

    Args:
        before: steps of the head for whole texts before the last one.
        pooling: where the head for whole texts starts.
        last: name of its last layer.
    """
    return {
        "ForSequenceClassification": HeadNames(pooling, (*before, StepNames(last))),
        "ForTokenClassification": HeadNames("none", (StepNames("classifier"),)),
        "ForQuestionAnswering": HeadNames("none", (StepNames("qa_outputs"),)),
    }


@dataclass(frozen=True)
class Family:
    """A family of encoders.

    Attributes:
        prefix: of the base model's tensors in a model with a head.
        words: embedding of tokens.
        layer: template of a layer's name, or a function of the source and the layer's number.
        names: of the modules of a layer.
        heads: by the last part of the architecture's name.
        positions: embedding of positions.
        types: embedding of token types.
        embedding_norm, final_norm, projection: as in :class:`dsformer_runtime.model.EncoderModel`.
        pre_norm, gated: likewise.
        padded_positions: positions start after that of padding, as in RoBERTa.
        settings: names of the fields of the configuration.
        defaults: values of the fields that a configuration may lack.
        layer_extras: further fields of a layer, from the source and the layer's number.
        model_extras: further fields of the model.
        positions_if: field of the configuration without which there are no positions, whatever is stored.
        aliases: other names of fields of the configuration, and those that are read.
        variants: the same encoders under other names, tried where the names of this one are not there.
    """

    prefix: str
    words: str
    layer: "str | Callable[[Source, int], str]"
    names: LayerNames
    heads: Mapping[str, HeadNames]
    positions: str | None = None
    types: str | None = None
    embedding_norm: str | None = None
    projection: str | None = None
    final_norm: str | None = None
    pre_norm: bool = False
    gated: bool = False
    padded_positions: bool = False
    settings: Settings = Settings()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    layer_extras: "Callable[[Source, int], dict[str, Any]] | None" = None
    model_extras: "Callable[[Source], dict[str, Any]] | None" = None
    positions_if: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    variants: "tuple[Family, ...]" = ()
