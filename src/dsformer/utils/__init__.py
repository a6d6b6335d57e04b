"""Helpers that know nothing of compression: files, locks, processes, threads, progress.

This package imports ``errors`` only. Files come first: ``locks.py`` (kernel locks) and ``system_errors.py`` (a full
disk, no memory) are used by ``atomic_io.py``, which writes a file whole or not at all, and ``output_directory.py`` does
the same for the directory of a run. ``shutdown.py`` ends a process on Ctrl-C and removes what is unfinished.
``distributed.py``, ``threads.py``, ``hardware.py`` and ``progress.py`` are about processes, threads, the processor and
progress bars. ``tensor_cache.py`` keeps values until a tensor changes, ``matching.py`` is the Gale-Shapley algorithm,
``config.py`` the base class of configurations. Start with ``atomic_io.py``; the other files can be read separately.
"""
