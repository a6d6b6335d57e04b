"""An encoder and its head, made of a directory's configuration and tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from dsformer_runtime.artefact.checksums import check_record
from dsformer_runtime.artefact.directory import CONFIG, open_directory, read_object, weight_files
from dsformer_runtime.artefact.factors import CompressedModules
from dsformer_runtime.artefact.precision import check_dtype
from dsformer_runtime.artefact.schema import Block, parse_compression
from dsformer_runtime.artefact.tensors import Tensors
from dsformer_runtime.errors import RuntimeInputError, UnsupportedModelError
from dsformer_runtime.families import find_family
from dsformer_runtime.families.family import Family, HeadNames, StepNames
from dsformer_runtime.families.source import ModelSettings, Source
from dsformer_runtime.model import Activation, EncoderLayer, EncoderModel, Head, HeadStep, Linear, Norm

_ACTIVATIONS: dict[str, Activation] = {
    **{name: name for name in get_args(Activation)},
    **{"gelu_python": "gelu", "swish": "silu", "swiglu": "silu", "geglu": "gelu", "linear": "identity"},
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"), "gelu_tanh"),
}
_POOLINGS = {"first": "first", "cls": "first", "mean": "mean", "none": "none"}
# Settings that no family here has, with the values at which they have no effect.
_UNUSED = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}
_MOST_LAYERS = 512


@dataclass(frozen=True)
class LoadedModel:
    """An encoder with what its directory says of it.

    Attributes:
        config: all of ``config.json``.
        encoder: the encoder.
        head: of the task that the model was saved for; None: it has none.
        task: end of the architecture's name, such as ``ForSequenceClassification``; empty without a head.
    """

    config: Mapping[str, Any]
    encoder: EncoderModel
    head: Head | None
    task: str


def load_model(directory: str | Path, dtype: str | None = None) -> LoadedModel:
    """Load the encoder of a directory, and its head if it has one.

    Args:
        directory: a plain checkpoint, or an artefact of DSFormer.
        dtype: in which linear layers multiply: ``float32``, ``bfloat16``, ``int8``, or None: int8 where they are stored
            so, otherwise float32.

    Raises:
        RuntimeInputError: a file is missing or damaged.
        UnsupportedModelError: the model is of a kind that is not supported.
    """
    check_dtype(dtype)
    directory = open_directory(directory)
    config = read_object(directory / CONFIG)
    family = find_family(config.get("model_type"))
    try:
        compression = parse_compression(config)
    except RuntimeInputError as error:
        raise RuntimeInputError(f"{directory / CONFIG}: {error}") from None
    tensors = Tensors(weight_files(directory))
    try:
        check_record(compression, config, tensors, family.defaults)
        source = make_source(config, compression.blocks, tensors, dtype)
        encoder = build_encoder(source)
        task = _find_task(config, source.family)
        head = build_head(source, source.family.heads[task], encoder.width) if task else None
    except RuntimeInputError as error:
        raise type(error)(f"{directory}: {error}") from None
    return LoadedModel(config, encoder, head, task)


def make_source(config: Mapping[str, Any], blocks: Sequence[Block], tensors: Tensors, dtype: str | None) -> Source:
    """Find the modules of a model among its tensors.

    Args:
        config: the fields of ``config.json``.
        blocks: that it describes, if the model is compressed.
        tensors: of the model.
        dtype: as of :func:`load_model`.

    Raises:
        RuntimeInputError: there are none of its family.
        UnsupportedModelError: the model is of a kind that is not supported.
    """
    family = find_family(config.get("model_type"))
    modules = CompressedModules(tensors, blocks, dtype)
    family, prefix = _find_names(family, tensors)
    return Source(family, ModelSettings(config, family.defaults, family.aliases), tensors, modules, dtype, prefix)


def build_encoder(source: Source) -> EncoderModel:
    """Make the encoder of a source.

    Raises:
        RuntimeInputError: a module is missing, damaged, or does not fit the others.
        UnsupportedModelError: a setting is not supported.
    """
    family, settings = source.family, source.settings
    for name, value in _UNUSED.items():
        if settings.get(name) not in (None, value):
            raise UnsupportedModelError(f"{name} {settings.get(name)!r:.40} is not supported; PyTorch runs the model")
    words = source.table(family.words)
    positions = source.position_rows
    types = source.rows(family.types) if family.types is not None and source.has(family.types) else None
    size = words.width
    for module, rows in ((family.positions, positions), (family.types, types)):
        if rows is not None and (rows.shape[1] != size or not len(rows)):
            raise source.problem(str(module), f"{rows.shape[1]} columns instead of {size}")
    norm = source.norm(family.embedding_norm, size) if family.embedding_norm else None
    projection = None
    if family.projection is not None and source.has(family.projection):
        projection = source.linear(family.projection)
        _check(source, family.projection, projection, size, None)
    width = size if projection is None else projection.out_features
    layers = tuple(_build_layer(source, number, width) for number in range(_count_layers(source)))
    fields: dict[str, Any] = {
        "head_size": source.head_size,
        "scale": source.head_size**-0.5,
        "final_norm": source.norm(family.final_norm, width) if family.final_norm else None,
        "activation": find_activation(settings.get(family.settings.activation)),
        "bias": None,
    }
    fields |= family.model_extras(source) if family.model_extras is not None else {}
    model = EncoderModel(
        words=words,
        positions=positions,
        types=types,
        embedding_norm=norm,
        projection=projection,
        layers=layers,
        gated=family.gated,
        pre_norm=family.pre_norm,
        longest=source.longest,
        **fields,
    )
    _check_heads(source, model)
    return model


def build_head(source: Source, names: HeadNames, width: int) -> Head:
    """Make a head, whose layers are never rounded.

    Args:
        source: of the model.
        names: of the head.
        width: of the hidden states that it reads.

    Raises:
        RuntimeInputError: a module is missing, damaged, or does not fit the others.
    """
    steps = []
    for step in names.steps:
        steps.append(_build_step(source, step, width))
        width = steps[-1].linear.out_features
    pooling = _setting(source, names.pooling)
    if pooling not in _POOLINGS:
        raise UnsupportedModelError(f"a head with the pooling {str(pooling)[:40]!r} is not supported")
    return Head(_POOLINGS[pooling], tuple(steps))  # type: ignore[arg-type]


def find_activation(name: Any) -> Activation:
    """Return the activation that a configuration names.

    Raises:
        UnsupportedModelError: it is not supported.
    """
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise UnsupportedModelError(f"the activation {str(name)[:40]!r} is not supported; PyTorch runs the model")
    return _ACTIVATIONS[name]


def _setting(source: Source, value: str) -> Any:
    return source.settings.get(value.removeprefix("config:")) if value.startswith("config:") else value


def _build_step(source: Source, step: StepNames, width: int) -> HeadStep:
    linear = source.linear(step.name, step.in_base, rounded=False)
    _check(source, step.name, linear, width, None)
    norm = None if step.norm is None else source.norm(step.norm, linear.out_features, in_base=False)
    return HeadStep(linear, find_activation(_setting(source, step.activation)), norm)


def _find_names(family: Family, tensors: Tensors) -> tuple[Family, str]:
    """Return the family with the names that are stored, and the prefix of the base model's."""
    stored = set(tensors)
    for one in (family, *family.variants):
        for prefix in ("", f"{family.prefix}.", f"{one.prefix}."):
            words = f"{prefix}{one.words}.weight" in stored
            norm = f"{prefix}{one.embedding_norm}."
            if words and any(name.startswith(norm) for name in stored):
                return one, prefix
    raise RuntimeInputError(f"no {family.words}.weight in the weights")


def _find_task(config: Mapping[str, Any], family: Family) -> str:
    """Return the task of the head that the model was saved with; empty: none that is known."""
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    return next((task for task in family.heads if name.endswith(task)), "")


def _count_layers(source: Source) -> int:
    count = source.settings.integer(source.family.settings.layers, 0)
    if count > _MOST_LAYERS:
        raise RuntimeInputError(f"config.json: {count} layers are more than {_MOST_LAYERS}")
    return count


def _build_layer(source: Source, number: int, width: int) -> EncoderLayer:
    """Make a layer; one that several numbers name is made once."""
    family = source.family
    name = family.layer.format(number) if isinstance(family.layer, str) else family.layer(source, number)
    return source.cached(f"layer {name}", lambda: _new_layer(source, name, number, width))


def _new_layer(source: Source, name: str, number: int, width: int) -> EncoderLayer:
    names, family = source.family.names, source.family

    def linear(part: str, inputs: int, outputs: int | None = None) -> Linear:
        layer = source.linear(f"{name}.{part}")
        _check(source, f"{name}.{part}", layer, inputs, outputs)
        return layer

    def norm(part: str) -> Norm | None:
        # ModernBERT's first layer reads embeddings that are normalized already.
        missing = family.pre_norm and number == 0 and not source.has(f"{name}.{part}")
        return None if missing else source.norm(f"{name}.{part}", width)

    attention = tuple(linear(part, width) for part in names.query_key_value)
    size = sum(part.out_features for part in attention)
    if size % (3 * source.head_size):
        raise source.problem(name, f"{size} queries, keys and values are not heads of {source.head_size}")
    if len(attention) == 3 and len({part.out_features for part in attention}) > 1:
        raise source.problem(name, "queries, keys and values are not of one size")
    up = tuple(linear(part, width) for part in names.up)
    inside = sum(part.out_features for part in up)
    if family.gated and (inside % 2 or (len(up) == 2 and up[0].out_features != up[1].out_features)):
        raise source.problem(name, "the halves of a gated layer are not of one size")
    return EncoderLayer(
        query_key_value=attention,
        attention_output=linear(names.attention_output, size // 3, width),
        attention_norm=norm(names.attention_norm),
        up=up,
        down=linear(names.down, inside // 2 if family.gated else inside, width),
        output_norm=norm(names.output_norm),
        **(family.layer_extras(source, number) if family.layer_extras is not None else {}),
    )


def _check(source: Source, name: str, linear: Linear, inputs: int, outputs: int | None) -> None:
    """Check the sizes of a linear layer; ``outputs`` None: any."""
    found = (linear.out_features, linear.in_features)
    if linear.in_features != inputs or (outputs is not None and linear.out_features != outputs):
        wanted = ("any" if outputs is None else outputs, inputs)
        raise source.problem(name, f"is {found} (out, in) instead of {wanted}")


def _check_heads(source: Source, model: EncoderModel) -> None:
    """Check that what is added to the scores of attention is there for every head."""
    for number, layer in enumerate(model.layers):
        size = sum(part.out_features for part in layer.query_key_value) // 3
        if model.bias is not None and len(model.bias) != size // model.head_size:
            raise RuntimeInputError(f"layer {number}: {size // model.head_size} heads, but {len(model.bias)} biases")
        relative = layer.disentangled
        for part in () if relative is None else (relative.keys, relative.queries):
            if part is not None and part.shape[1] != size:
                raise RuntimeInputError(f"layer {number}: relative positions of {part.shape[1]} columns, not {size}")
        if layer.rotary and model.head_size % 2:
            raise RuntimeInputError(f"rotary positions of heads of {model.head_size}")
