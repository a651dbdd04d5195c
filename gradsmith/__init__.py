"""The application: command line, comparison with autograd, trainer, benchmarks."""
