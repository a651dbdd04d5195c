"""How definitions and derivations are shown: text, LaTeX, MathML, paper, notebooks, data."""
