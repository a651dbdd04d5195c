"""What shows itself in a notebook, in formulas, which a room above this one writes."""

from __future__ import annotations

from functools import singledispatch


@singledispatch
def latex_of(shown: object) -> str:
    """An object in LaTeX, by what is registered for its type."""
    raise NotImplementedError(f"nothing writes {type(shown).__name__} in LaTeX")


@singledispatch
def html_of(shown: object) -> str:
    """An object as a piece of HTML, by what is registered for its type."""
    raise NotImplementedError(f"nothing writes {type(shown).__name__} in HTML")


class Shown:
    """Answers what a notebook asks an object that it shows; where nothing writes it, IPython
    takes the error for the answer that there is no such form."""

    def _repr_latex_(self) -> str:
        return latex_of(self)

    def _repr_html_(self) -> str:
        return html_of(self)
