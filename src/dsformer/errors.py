"""The errors a user can cause, and nothing else: every message says what is wrong and what to do."""


class DSFormerError(Exception):
    """Base of the errors raised on purpose. The command line prints the message as one line and exits with 2."""


class InputError(DSFormerError, ValueError):
    """What was asked for, or the model or text it was asked on, cannot be used."""


class UnreachableError(InputError):
    """A method has no form of this model that fits what was asked for; another method, pattern or ratio may have."""


class WorkError(InputError):
    """A directory that a run keeps its unfinished work in is another's."""


class ArtefactError(DSFormerError, ValueError):
    """A compressed directory is damaged, tampered with, or of a version this package does not read."""


class MissingExtraError(DSFormerError, ImportError):
    """An optional dependency is needed.

    Args:
        purpose: what needs it, as the start of a sentence ("Evaluation").
        extra: the extra of this package that brings it ("demo").
    """

    def __init__(self, purpose: str, extra: str):
        super().__init__(f'{purpose} needs packages that are not installed: pip install "dsformer[{extra}]"')
