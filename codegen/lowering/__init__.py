"""From a derivation to tensor programs: what is kept, named, stable and shared."""
