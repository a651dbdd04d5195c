"""Loops in C emitted by gradsmith, and the modules that call them: not to be edited by hand."""
