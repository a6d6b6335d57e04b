"""Formatting of bytes, ratios and shares for people."""


def megabytes(count: float) -> str:
    """Format bytes in units of a million bytes (or a thousand, or a billion)."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.2f} kB"


def times(ratio: float) -> str:
    """Format a ratio, such as 2.80x."""
    return f"{ratio:.2f}x"


def percent(share: float) -> str:
    """Format a fraction as a percentage."""
    return f"{100 * share:.1f}%"
