"""The former name of :mod:`dsformer.data`, for one release."""
