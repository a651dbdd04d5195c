"""What several commands take."""

from __future__ import annotations

import click

SEED = click.IntRange(0, 2**64 - 1)
"""What seeds a generator of torch: 64 bits."""
