"""``python -m dsformer``: the ``dsformer`` program."""

from dsformer.cli.main import run

if __name__ == "__main__":
    run()
