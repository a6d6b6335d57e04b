"""Errors of the runtime. Each says in one line what is wrong and what to do."""


class RuntimeInputError(ValueError):
    """The model, a file or an argument cannot be used."""


class UnsupportedModelError(RuntimeInputError):
    """The model is of a kind that this runtime does not run; PyTorch may."""
