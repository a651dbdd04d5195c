"""The C target: a tensor program as fused loops in C11."""
