"""How many bits a stored number has, and where the scales of rounded ones are."""

from dataclasses import dataclass

from dsformer.errors import InputError

# Bits a number can be rounded to.
ROUNDED = range(2, 9)
# Of a scale: bfloat16.
SCALE_BITS = 16


@dataclass(frozen=True)
class Precision:
    """Bits of the numbers of a form.

    Numbers of 8 bits or fewer are whole and have scales: one for every row of the two matrices the form multiplies, or
    for every ``span`` numbers of a row. (Codes of an output dictionary have one a row in any case.)

    Attributes:
        codes, dictionary: bits of a number: 16 or 32 for floating-point ones, 2 to 8 for rounded ones.
        span: numbers of a row that share a scale; 0: all of it.
    """

    codes: int = 8
    dictionary: int = 8
    span: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for bits that no number can have."""
        bits = {self.codes, self.dictionary}
        if not (bits <= {16, 32, 64} or bits <= set(ROUNDED)) or self.span < 0:
            raise InputError(f"precision: {self.codes} and {self.dictionary} bits, a scale for every {self.span}")

    @classmethod
    def of(cls, bits: "int | Precision") -> "Precision":
        """Both factors with the same number of bits, scales by row; a precision stays what it is."""
        return bits if isinstance(bits, Precision) else cls(bits, bits)

    @property
    def rounded(self) -> bool:
        """Whether numbers are whole."""
        return self.codes <= 8

    @property
    def most(self) -> int:
        """Bits of the wider of the two."""
        return max(self.codes, self.dictionary)

    @property
    def least(self) -> int:
        """Bits of the narrower of the two."""
        return min(self.codes, self.dictionary)

    def scales(self, numbers: int) -> int:
        """How many scales a row of so many numbers has."""
        if not self.rounded:
            return 0
        return -(-numbers // self.span) if self.span and numbers else 1

    def __str__(self) -> str:
        if not self.rounded:
            return f"{self.most} bit"
        types = [f"int{bits}" for bits in dict.fromkeys((self.codes, self.dictionary))]
        return " codes, ".join(types) + (" dictionary" if len(types) > 1 else "")


INT8 = Precision()
# What a recipe can ask for; the ratio is of a dense model with as many bits as the narrower of the two.
FACTORS = {"int8": INT8, "int8+int4": Precision(codes=4, dictionary=8), "int4": Precision(4, 4)}


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that a row of so many numbers takes."""
    return (count * bits + 7) // 8
