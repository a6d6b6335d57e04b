"""The command line ``dsformer``, made with typer.

The topmost package: it may import all others, and only ``__main__`` imports it. ``main`` registers the commands, each
in the file of its name (``compress`` with ``dry_run``, ``finetune``, ``inspect``, ``evaluate``, ``benchmark``,
``sweep``, ``densify``, ``demo``); their docstrings are the help text. ``options`` holds options that commands share and
``recipe_flags`` makes a flag of every field of the recipe. ``output``, ``tables``, ``scores`` and ``latency`` measure
and print. ``error_handling`` turns user errors into one line and exit code 2. Start reading at ``main``.
"""
