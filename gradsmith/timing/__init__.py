"""What emitted code costs: time, kernels and bytes, beside the alternatives."""
