"""The training curve: log10 of the loss at every step, and its mean over a thousand."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

WINDOW = 1000


def draw(losses: Tensor) -> bytes:
    """A PNG of the curve. `losses` (steps) are the losses themselves, one a step."""
    lossi = losses.log10()
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(lossi.numpy(), color="#9ecae1", linewidth=0.4, label="each step")
    whole = len(lossi) // WINDOW
    if whole:
        means = lossi[: whole * WINDOW].view(-1, WINDOW).mean(1)
        middles = [WINDOW * i + WINDOW // 2 for i in range(whole)]
        axes.plot(middles, means.numpy(), color="#08519c", label=f"mean of {WINDOW}")
    axes.set_xlabel("step")
    axes.set_ylabel("log10 loss")
    axes.legend()
    axes.grid(alpha=0.3)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
