"""The part of a transformer (attention, feed-forward, embeddings) that a block belongs to, from its module names."""

import re
from collections.abc import Sequence
from typing import Literal

Part = Literal["embeddings", "attention", "feed-forward", "other"]
PARTS: tuple[Part, ...] = ("embeddings", "attention", "feed-forward", "other")

_FEED_FORWARD = re.compile(
    r"mlp|ffn|feed_?forward|intermediate|densereludense|\bfc[12]\b|\blin[12]\b|(gate|up|down)_proj|h_to_4h|4h_to_h"
)
_ATTENTION = re.compile(r"att(entio)?n|\b(query|key|value)\b|\b(q|k|v|o|qkv|out)_(proj|lin)\b")
# BERT and similar models: the feed-forward down-projection is in the layer itself.
_LAYER_OUTPUT = re.compile(r"\.\d+\.output\.dense$")


def label_of(names: Sequence[str]) -> str:
    """Join a block's module names to one label, such as ``attention.self.{query,key,value}``."""
    if len(names) == 1:
        return names[0]
    paths = [name.split(".") for name in names]
    shared = 0
    while all(len(path) > shared + 1 and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    rests = ",".join(".".join(path[shared:]) for path in paths)
    return ".".join([*paths[0][:shared], "{" + rests + "}"])


def part_of(names: Sequence[str], kind: str = "linear") -> Part:
    """Return the part of a block; only a label in reports, nothing else depends on it."""
    if kind == "embedding":
        return "embeddings"
    name = names[0].lower()
    if _FEED_FORWARD.search(name) or _LAYER_OUTPUT.search(name):
        return "feed-forward"
    return "attention" if _ATTENTION.search(name) else "other"
