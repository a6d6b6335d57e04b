"""What is measured on the dense model: which layers share an input, and what those inputs look like."""
