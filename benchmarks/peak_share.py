"""What share of the processor's products of bytes the runtime's int8 kernels reach.

The peak is a loop of the same instruction on registers, timed in the same run, in turn with the kernels. Layers are
timed as they run: with rounding of the inputs, scales and what is copied. Of sparse matrices only products with
non-zeros count. Fails where a share is below its bound:

    python benchmarks/peak_share.py [--rounds 30] [--isa avx2]
"""

import argparse
import ctypes
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dsformer_runtime.model import Linear, Matrix
from dsformer_runtime.native.library import open_library
from dsformer_runtime.native.linear import NativeLinear

SHAPES = ((1152, 384), (384, 384), (1536, 384), (384, 1536))
TOKENS = (16, 960)
BANK = 64
# Of the 64 columns of a bank, those that a row has non-zeros in.
KEPT = (64, 16, 8)
# The least share with 960 tokens, and with 16, of the best set; by the non-zeros of a bank.
BOUNDS = {64: (0.6, 0.45), 16: (0.2, 0.15), 8: (0.1, 0.08)}
PEAK_ROUNDS = 200_000


@dataclass
class Case:
    """What is timed.

    Attributes:
        name: printed.
        products: of one run.
        run: runs it.
        bound: the least share of the peak.
        seconds: of the fastest run so far.
    """

    name: str
    products: float
    run: Callable[[], object]
    bound: float
    seconds: float = float("inf")

    def time(self, times: int) -> None:
        """Run it so often."""
        for _ in range(times):
            start = time.process_time()
            self.run()
            self.seconds = min(self.seconds, time.process_time() - start)

    @property
    def speed(self) -> float:
        """Products a second."""
        return self.products / self.seconds


def banked_matrix(random: np.random.Generator, rows: int, columns: int, kept: int) -> Matrix:
    """Return a matrix whose rows have so many non-zeros in every bank of columns."""
    order = random.random((rows, columns // BANK, BANK)).argsort(-1)
    values = random.integers(1, 128, (rows, columns)).astype(np.int8) * random.choice((-1, 1), (rows, columns))
    values = np.where((order < kept).reshape(rows, columns), values, 0).astype(np.int8)
    return Matrix(values, np.full(rows, 1e-3, np.float32))


def make_cases() -> list[Case]:
    """Return layers of all kinds."""
    random = np.random.default_rng(0)
    cases = []
    for kept in KEPT:
        for rows, columns in SHAPES:
            linear = NativeLinear(Linear(direct=banked_matrix(random, rows, columns, kept)))
            for tokens, bound in zip(TOKENS[::-1], BOUNDS[kept], strict=True):
                x = random.standard_normal((tokens, columns)).astype(np.float32)
                products = tokens * rows * columns * kept / BANK
                name = f"{rows:5} x {columns:4}  {kept:2} of {BANK}  {tokens:4} tokens"
                cases.append(Case(name, products, lambda linear=linear, x=x: linear.run(x), bound))
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--isa", help="by default the best set, which alone has bounds")
    arguments = parser.parse_args()
    library = open_library()
    if library is None or (arguments.isa and library.dsf_set_isa(arguments.isa.encode())):
        sys.exit("no native library, or none of this set")
    count = library.dsf_peak_products
    count.restype, count.argtypes = ctypes.c_int64, [ctypes.c_int64]
    peak = Case("peak", count(1) * PEAK_ROUNDS, lambda: count(PEAK_ROUNDS), 0)
    cases = make_cases()
    for _ in range(arguments.rounds):
        peak.time(1)
        for case in cases:
            case.time(1 if case.products > 1e7 else 10)
    print(f"{library.dsf_isa_name().decode()}: at most {peak.speed / 1e9:.1f} products a nanosecond")
    slow = []
    for case in cases:
        share = case.speed / peak.speed
        print(f"{case.name}  {case.speed / 1e9:7.1f} a ns  {share:.2f}")
        slow += [case.name] if share < case.bound else []
    if slow and not arguments.isa:
        sys.exit("below their bounds: " + "; ".join(slow))


if __name__ == "__main__":
    main()
