"""How many bits every block gets."""
