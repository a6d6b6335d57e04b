"""Removal of local paths, so that what is published does not describe the machine it was made on."""

import re
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

# A path from the root, from somebody's home, or of a Windows drive.
_ABSOLUTE = re.compile(r"(?:~[\w.-]*)?[/\\]|[A-Za-z]:[/\\]")
# A path in the middle of a line, such as a command: after a space, a quote, an equals sign, a comma.
_WITHIN = re.compile(rf"(?<=[\s'\"=,(])(?:{_ABSOLUTE.pattern})[^\s'\",)]+")


def strip_local_paths(value: Any) -> Any:
    """Reduce every local path in JSON values to its last part.

    Local are absolute paths, and relative ones that exist on this machine. Keys of objects are unchanged.
    """
    if isinstance(value, dict):
        return {key: strip_local_paths(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [strip_local_paths(one) for one in value]
    if not isinstance(value, str):
        return value
    if _is_local(value):
        return _last_part(value)
    return _WITHIN.sub(lambda found: _last_part(found[0]), value)


def forget_places(config: PretrainedConfig) -> None:
    """Strip local paths from the configurations inside one.

    transformers does the same for the outer configuration.
    """
    for part in vars(config).values():
        if isinstance(part, PretrainedConfig):
            part.name_or_path = strip_local_paths(part.name_or_path)
            forget_places(part)


def _is_local(text: str) -> bool:
    if "\n" in text or len(text) > 4096:
        return False
    if _ABSOLUTE.match(text) or re.match(r"\.\.?[/\\]", text):
        return True
    try:
        return "/" in text and Path(text).exists()
    except OSError:
        return False


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
