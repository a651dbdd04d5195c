"""Loops in C emitted by gradsmith, and the modules that call them. Nothing here is edited by hand."""
