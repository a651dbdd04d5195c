"""The independent evaluator, and every step of a derivation held against it."""
