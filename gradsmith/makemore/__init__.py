"""The notebook's character model: its data, its exercises, its training with emitted gradients."""
