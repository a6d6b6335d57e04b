"""The model card (README) of a fine-tuned dense model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dsformer.data.supervised import SupervisedTask
from dsformer.models.local_paths import strip_local_paths
from dsformer.models.model_card import header, hub_name, loading_code, markdown_table, short_name
from dsformer.training.config import TrainingConfig


def make_dense_card(
    model: str | Path,
    task: SupervisedTask,
    scores: Mapping[str, float],
    settings: TrainingConfig,
    architecture: str,
    library: str,
    source: Mapping[str, Any],
) -> str:
    """Write a model card in Markdown with a YAML header.

    Args:
        model: the model that was fine-tuned: a hub name or a directory.
        task: the task it was fine-tuned on.
        scores: metrics by name, times 100, the main one first.
        settings: how it was trained.
        architecture: the name of its class.
        library: the library that loads it.
        source: the header of the base model's card.
    """
    base, name = hub_name(strip_local_paths(str(model))), short_name(task.name)
    recipe = strip_local_paths(settings.model_dump(mode="json", exclude_defaults=True))
    sections = [
        header(strip_local_paths(dict(source)), library, base, "finetune", ["dsformer"]),
        f"# {short_name(model)}, fine-tuned on {name}",
        f"A dense model for {name} ({task.kind.replace('_', ' ')}), trained with [DSFormer]"
        f"(https://arxiv.org/abs/2312.13211)'s `finetune`.\nBase model: `{base or short_name(model)}`.",
        loading_code(library, architecture, compressed=False),
        markdown_table(f"Scores on {task.scored_on}", ("metric", "score"), list(scores.items())),
        f"## How it was made\n\n`dsformer finetune` with this recipe:\n\n```yaml\n"
        f"{yaml.safe_dump({'training': recipe}, sort_keys=False, allow_unicode=True)}```",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"
