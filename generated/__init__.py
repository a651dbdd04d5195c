"""PyTorch code emitted by gradsmith, one file an operation. Nothing here is edited by hand."""
