"""The library: one file an operation or a family, each only its mathematics."""
