"""The torch target: tensor programs printed as PyTorch source."""
