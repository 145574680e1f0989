"""How good samples are, in numbers."""
