"""Bytes, ratios and shares as people read them."""


def megabytes(count: float) -> str:
    """Bytes as text, in units of a million (or a thousand) bytes."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.2f} kB"


def times(ratio: float) -> str:
    return f"{ratio:.2f}x"


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"
