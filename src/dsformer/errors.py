"""Exceptions that a user's input can cause.

Every message says what is wrong and what to do. Nothing else is defined here.
"""


class DSFormerError(Exception):
    """Base class of the exceptions raised on purpose.

    The command line prints the message as one line and exits with 2.
    """


class InputError(DSFormerError, ValueError):
    """The request is invalid, or cannot be carried out on this model or text."""


class UnreachableError(InputError):
    """The method has no form of this model within the budget; another method, pattern or ratio may have one."""


class WorkError(InputError):
    """The working directory of a run holds files of another run."""


class ArtefactError(DSFormerError, ValueError):
    """A compressed directory is damaged, was tampered with, or has a version that this package does not read."""


class MissingExtraError(DSFormerError, ImportError):
    """An optional dependency is not installed.

    Args:
        purpose: what needs the dependency, as the start of a sentence ("Evaluation").
        extra: the extra of this package that installs it ("demo").
    """

    def __init__(self, purpose: str, extra: str):
        super().__init__(f'{purpose} needs packages that are not installed: pip install "dsformer[{extra}]"')
