"""From a definition to its chunked backward: the normal form, deltas, the chain rule."""
