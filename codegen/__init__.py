"""From a derivation to source text: lowering, printers, templates, the writer."""
