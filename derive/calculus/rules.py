"""The rules by which a gradient is derived, one row each, with why each of them holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A rule's name, and its justification: in plain words, and in LaTeX.

    `argues` marks those that say something about the operation; the others only write what was
    there before differently.
    """

    name: str
    because: str
    latex: str
    argues: bool = False


MOMENTS = Rule(
    "moments",
    "a second moment, less the product of the means, is one about the means",
    r"$\frac1N \sum_n x_n y_n - \bar x \bar y = \frac1N \sum_n (x_n - \bar x)(y_n - \bar y)$",
    argues=True,
)
CHAIN_RULE = Rule(
    "chain rule",
    "a cotangent is the sum over its users of theirs times the local partial",
    r"$\bar u = \sum_v \bar v\, \partial v / \partial u$, down to the named cotangents",
)
CHANGE_OF_VARIABLES = Rule(
    "change of variables",
    "a let is an equation, solved for the tensor that it hides",
    r"a let is an equation, solved for the tensor that it hides: $x = \hat x / r + m$",
    argues=True,
)
SYMMETRY = Rule(
    "symmetry",
    "what equals its own transpose is written one way round",
    r"what equals its own transpose is written one way round: $d_{ij} = d_{ji}$",
    argues=True,
)
REDUCTION_IDENTITY = Rule(
    "reduction identity",
    "the same equations, put into a let that is a sum, say what that sum is",
    r"the same equations, put into a let that is a sum: "
    r"from $m = \frac1N \sum_n x_n$, $\sum_n \hat x_n = 0$",
    argues=True,
)
RECOGNISE = Rule(
    "recognise",
    "what the forward pass has computed is used by its name",
    r"what the forward pass has computed is used by its name: $\tanh a = h$",
)
SHARE = Rule(
    "share",
    "a product or a sum that the backward pass has computed is used by its name",
    r"a product or a sum that the backward pass has computed is used by its name",
)
FACTOR = Rule(
    "factor",
    "common factors are taken out",
    r"distributivity: $ab + ac = a(b + c)$, $\sum_k f - \sum_k f h = \sum_k f (1 - h)$",
)
