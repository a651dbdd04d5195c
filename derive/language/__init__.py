"""How an operation is written down: expressions, definitions, the builder, the public signature."""
