"""What an emitted module is held against: the evaluator, autograd, PyTorch's samples, one's own."""
