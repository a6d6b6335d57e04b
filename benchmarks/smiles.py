"""Reactions in SMILES, put together from building blocks as chemists make libraries of them, with what kind they are.

Ten textbook reactions: every product follows from its reactants by the reaction it is named after.
"""

import random
from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import partial
from itertools import islice

# Fragments whose last atom is the one that reacts, and such whose first is.
TAILS = [
    "C",
    "CC",
    "CCC",
    "CC(C)",
    "CCCC",
    "CC(C)C",
    "c1ccccc1",
    "Cc1ccc(cc1)",
    "COc1ccc(cc1)",
    "Clc1ccc(cc1)",
    "Fc1ccc(cc1)",
    "FC(F)(F)c1ccc(cc1)",
    "N#Cc1ccc(cc1)",
    "c1ccc2ccccc2c1",
    "c1ccncc1",
    "c1ccsc1",
    "c1ccc(cc1)C",
    "C1CCCCC1",
    "C1CCOCC1",
    "CC(=O)Nc1ccc(cc1)",
    "Brc1ccc(cc1)",
    "COCC",
]
AROMATIC_TAILS = [tail for tail in TAILS if tail.endswith(("c1", "c1)"))]
HEADS = [
    "C",
    "CC",
    "CCC",
    "C(C)C",
    "CCOC",
    "Cc1ccccc1",
    "CCc1ccccc1",
    "c1ccccc1",
    "c1ccc(C)cc1",
    "c1ccc(OC)cc1",
    "c1ccc(Cl)cc1",
    "c1cccc(F)c1",
    "c1ccncc1",
    "C1CCCCC1",
    "Cc1ccc(F)cc1",
    "CCCO",
    "c1ccc(C#N)cc1",
    "Cc1cccnc1",
    "CC(C)C",
    "c1ccc2ccccc2c1",
]
AROMATIC_HEADS = [head for head in HEADS if head.startswith("c1")]
AMINES = [f"N{head}" for head in HEADS] + ["N1CCOCC1", "N1CCCC1", "N1CCCCC1", "N1CCN(C)CC1", "N(C)C", "N(C)Cc1ccccc1"]
ALCOHOLS = [f"O{head}" for head in HEADS if not head.startswith("c1")]
BOC, CARBONATE, PALLADIUM = "CC(C)(C)OC(=O)", "O=C([O-])[O-].[K+].[K+]", "[Pd]"
SOLVENTS = ("ClCCl", "CN(C)C=O", "C1CCOC1", "CCO", "CC#N", "C1COCCO1")

KINDS = (
    "amide",
    "ester",
    "ether",
    "coupling",
    "amination",
    "sulfonamide",
    "protection",
    "deprotection",
    "reduction",
    "hydrolysis",
)
# Products of other reactions that the most similar one is taken from.
OTHERS = 20


def reaction(kind: str, draw: random.Random) -> str:
    """One reaction: ``reactants.reagents>>product``."""
    tail, amine, alcohol = draw.choice(TAILS), draw.choice(AMINES), draw.choice(ALCOHOLS)
    aromatic, ring, head = draw.choice(AROMATIC_TAILS), draw.choice(AROMATIC_HEADS), draw.choice(HEADS[:6])
    coupler = draw.choice(("CCN=C=NCCCN(C)C", "C(=NC1CCCCC1)=NC1CCCCC1", "O=C(n1ccnc1)n1ccnc1"))
    reactants, product = {
        "amide": ((f"{tail}C(=O)O", amine, coupler), f"{tail}C(=O){amine}"),
        "ester": ((f"{tail}C(=O)O", alcohol, "O=S(=O)(O)O"), f"{tail}C(=O){alcohol}"),
        "ether": ((f"O{ring}", f"Br{head}", CARBONATE), f"O({head}){ring}"),
        "coupling": ((f"{aromatic}Br", f"OB(O){ring}", PALLADIUM, CARBONATE), f"{aromatic}{ring}"),
        "amination": ((f"{tail}C=O", amine, "[BH3-]C#N.[Na+]"), f"{tail}C{amine}"),
        "sulfonamide": ((f"{aromatic}S(=O)(=O)Cl", amine, "CCN(CC)CC"), f"{aromatic}S(=O)(=O){amine}"),
        "protection": ((amine, f"{BOC}OC(=O)OC(C)(C)C"), f"{BOC}{amine}"),
        "deprotection": ((f"{BOC}{amine}", "O=C(O)C(F)(F)F"), amine),
        "reduction": ((f"O=[N+]([O-]){ring}", PALLADIUM, "[H][H]"), f"N{ring}"),
        "hydrolysis": ((f"{tail}C(=O)OC", "[Li+].[OH-]"), f"{tail}C(=O)O"),
    }[kind]
    inputs = [*reactants, draw.choice(SOLVENTS)]
    draw.shuffle(inputs)
    return f"{'.'.join(inputs)}>>{product}"


def reactions(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Different reactions and their kinds, as many of each kind as there can be."""
    draw, found = random.Random(seed), dict[str, str]()
    kinds = _endless()
    while len(found) < count:
        kind = next(kinds)
        found.setdefault(reaction(kind, draw), kind)
    return list(found.items())


def with_products(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The reactions, every second one with a product like its own of another of its kind, and whether it is right."""
    told = []
    for i, (text, kind) in enumerate(found):
        inputs, product = text.split(">>")
        if i % 2:
            others = (other.split(">>")[1] for other, its in found[i + 1 :] + found[:i] if its == kind)
            like = SequenceMatcher(b=product, autojunk=False)
            product = max(islice((one for one in others if one != product), OTHERS), key=partial(_likeness, like))
        told.append((f"{inputs}>>{product}", "wrong" if i % 2 else "right"))
    return told


def _likeness(like: SequenceMatcher, other: str) -> float:
    like.set_seq1(other)
    return like.ratio()


def _endless() -> Iterator[str]:
    while True:
        yield from KINDS
