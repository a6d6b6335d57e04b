"""Bits of stored numbers, and the layout of quantization scales."""

from dataclasses import dataclass

from dsformer.errors import InputError

# Bits of the integers that a number can be quantized to.
ROUNDED = range(2, 9)
# Bits of a scale, which is bfloat16.
SCALE_BITS = 16


@dataclass(frozen=True)
class Precision:
    """Bits of the numbers of a form.

    Numbers of 8 bits or fewer are integers with scales. A form multiplies two matrices: every row of both has one
    scale, or one for each ``span`` numbers of the row. The codes of an output dictionary always have one scale a row.

    Attributes:
        codes, dictionary: bits of a number: 2 to 8 for integers, 16, 32 or 64 for floating-point numbers.
        span: numbers of a row that share a scale; 0: the whole row.
    """

    codes: int = 8
    dictionary: int = 8
    span: int = 0

    def __post_init__(self) -> None:
        """Check the bits.

        Raises:
            InputError: no numbers have these bits, only one factor is quantized, or the span is negative.
        """
        bits = {self.codes, self.dictionary}
        if not (bits <= {16, 32, 64} or bits <= set(ROUNDED)) or self.span < 0:
            raise InputError(f"precision: {self.codes} and {self.dictionary} bits, a scale for every {self.span}")

    @classmethod
    def of(cls, bits: "int | Precision") -> "Precision":
        """Return the precision of ``bits`` for both factors, with scales by row; a precision is returned as it is."""
        return bits if isinstance(bits, Precision) else cls(bits, bits)

    @property
    def rounded(self) -> bool:
        """Whether numbers are integers."""
        return self.codes <= 8

    @property
    def most(self) -> int:
        """Bits of the wider factor."""
        return max(self.codes, self.dictionary)

    @property
    def least(self) -> int:
        """Bits of the narrower factor."""
        return min(self.codes, self.dictionary)

    def scales(self, numbers: int) -> int:
        """Return the number of scales of a row of ``numbers`` numbers."""
        if not self.rounded:
            return 0
        return -(-numbers // self.span) if self.span and numbers else 1

    def __str__(self) -> str:
        if not self.rounded:
            return f"{self.most} bit"
        types = [f"int{bits}" for bits in dict.fromkeys((self.codes, self.dictionary))]
        return " codes, ".join(types) + (" dictionary" if len(types) > 1 else "")


INT8 = Precision()
# Quantized factors that a recipe can ask for. The ratio is relative to a dense model with the bits of the narrower one.
FACTORS = {"int8": INT8, "int8+int4": Precision(codes=4, dictionary=8), "int4": Precision(4, 4)}


def packed_bytes(count: int, bits: int) -> int:
    """Return the bytes of a packed row of ``count`` numbers of ``bits`` bits."""
    return (count * bits + 7) // 8
