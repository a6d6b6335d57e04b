"""Compress real models, save, load and save again: outputs and files must be bit-exact.

    python benchmarks/round_trip.py MODEL_DIR [MODEL_DIR ...] [--smiles MODEL_DIR ...]

Models of text are calibrated on the bundled passages, models of molecules (``--smiles``) on a few SMILES strings.
"""

import argparse
import re
import tempfile
from pathlib import Path
from time import perf_counter

import torch

import dsformer
from dsformer.data import bundled_passages

# Tokens of a molecule, as in the models' own tokenizer (Schwaller et al., arXiv 1711.04810).
TOKEN = re.compile(r"\[[^\]]+\]|Br|Cl|[A-Za-z]|\d|[()=#+\-./\\@:~*$%>]")
SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "C1CCCCC1", "CCO",
    "OC(=O)c1ccccc1O", "c1ccc2ccccc2c1", "CC(N)C(=O)O", "O=C(O)CC(O)(CC(=O)O)C(=O)O", "CCN(CC)CC", "ClCCl", "CC#N",
]  # fmt: skip


def round_trip(directory: str, texts: list[str], ratio: float) -> str:
    """One line about one model; raises AssertionError where a bit differs."""
    started = perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        first, second = Path(scratch) / "first", Path(scratch) / "second"
        made = dsformer.compress(directory, first, texts=texts, ratio=ratio)
        loaded = dsformer.load(first)
        batch = made.tokenizer(texts[:4], return_tensors="pt", padding=True, truncation=True, max_length=64)
        with torch.no_grad():
            assert torch.equal(made.model(**batch)[0], loaded(**batch)[0]), "outputs differ"
        loaded.save_pretrained(second)
        files = sorted(path.name for path in first.glob("*.safetensors"))
        assert files == sorted(path.name for path in second.glob("*.safetensors"))
        for name in files:
            assert (first / name).read_bytes() == (second / name).read_bytes(), f"{name} differs"
        size = sum((first / name).stat().st_size for name in files)
        tensors = made.summary.bytes_after
        return (
            f"{type(loaded).__name__}: encoder {made.summary.encoder_ratio:.2f}x, "
            f"total {made.summary.total_ratio:.2f}x, "
            f"{tensors:,} bytes of tensors predicted, {size:,} on disk, error {made.summary.mean_error:.3f}, "
            f"bit-exact, {perf_counter() - started:.0f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--smiles", nargs="*", default=[])
    parser.add_argument("--ratio", type=float, default=2.8)
    args = parser.parse_args()
    for directory in args.models:
        print(round_trip(directory, bundled_passages(128), args.ratio), flush=True)
    for directory in args.smiles:
        print(round_trip(directory, [" ".join(TOKEN.findall(one)) for one in SMILES * 4], args.ratio), flush=True)


if __name__ == "__main__":
    main()
