"""The former name of :mod:`dsformer.data.supervised`, for one release."""

import warnings

from dsformer.data.supervised import *  # noqa: F403

warnings.warn("dsformer.tasks.supervised is dsformer.data.supervised now", DeprecationWarning, stacklevel=2)
