"""Lines about what a user may not expect and does not have to mend; errors are in ``dsformer.errors``."""

import logging

_LOGGER = logging.getLogger("dsformer")


def notice(line: str) -> None:
    """Say a line: on standard error, unless the program that runs this has set up logging otherwise."""
    _LOGGER.warning(line)
