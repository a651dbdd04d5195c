"""Derivations as web pages: what stands on one, the code beside it, and the sites made of them."""
