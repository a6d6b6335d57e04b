"""Where measurements of this machine are kept."""

import os
from contextlib import suppress
from pathlib import Path


def cache_file(name: str) -> Path | None:
    """Return a file of ``$DSFORMER_CACHE`` or the user's cache directory; None where the user has no home directory."""
    own, shared = os.environ.get("DSFORMER_CACHE"), os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    with suppress(RuntimeError):
        return (Path(own) if own else Path(shared) / "dsformer").expanduser() / name
    return None
