"""A derivation on paper: a LaTeX document that compiles as it is, or a part of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sympy import Expr, KroneckerDelta, Rational

from derive.calculus.trace import Derivation
from derive.language.definition import Definition, Option
from derive.printing.arrange import Arrangement
from derive.printing.latex import broken, escaped, latex, let_latex
from derive.printing.story import Move, Story, Strand, story
from derive.printing.text import arrangement_of, known_of
from derive.simplification.cost import cost

_PREAMBLE = r"""\documentclass{article}
\usepackage{amsmath}
\usepackage{color}
\usepackage[a4paper, margin=2cm]{geometry}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt}"""
_COLOUR = r"\definecolor{changed}{rgb}{0.70,0.27,0.04}"
_GIVEN = "The gradient is what the backward pass is given, as it is."


def as_latex(derivation: Derivation, steps: bool = False, fragment: bool = False) -> str:
    """A derivation in LaTeX; with `steps`, each with its rule, why that holds, and its proof.

    A `fragment` goes into a document of one's own that loads amsmath and color.
    """
    content = body(derivation, steps)
    if fragment:
        return f"% needs \\usepackage{{amsmath, color}}\n{_COLOUR}\n\n{content}\n"
    return f"{_PREAMBLE}\n{_COLOUR}\n\\begin{{document}}\n\n{content}\n\n\\end{{document}}\n"


def body(derivation: Derivation, steps: bool = False) -> str:
    """What stands in the document."""
    definition, arrangement = derivation.definition, arrangement_of(derivation)
    parts = [
        rf"\section*{{\texttt{{{escaped(definition.full_name)}}}}}",
        escaped(definition.summary),
        r"\subsection*{Definition}",
        _declared(definition, arrangement),
        align(let_latex(let, arrangement) for let in definition.lets),
        _updated(definition),
        _sought(derivation, arrangement),
    ]
    if steps:
        told = story(derivation)
        parts.append(r"\subsection*{Chain rule, a line for each cotangent}")
        parts.append(align(let_latex(let, arrangement) for let in derivation.chunked.lets))
        parts += _simplification(told, arrangement)
    if derivation.forward != definition.lets:
        parts.append(r"\subsection*{Forward, with what the gradient reuses}")
        parts.append(align(let_latex(let, arrangement) for let in derivation.forward))
    parts.append(r"\subsection*{Gradient}")
    gradient = [let_latex(let, arrangement) for let in derivation.backward.lets]
    parts.append(align(gradient) or _GIVEN)
    parts += [r"\subsection*{Cost of the backward pass}", _cost(derivation)]
    return "\n\n".join(part for part in parts if part)


def align(rows: Iterable[str]) -> str:
    """Rows below one another in an `align*`; nothing where there are none."""
    content = " \\\\\n".join(rows)
    return f"\\begin{{align*}}\n{content}\n\\end{{align*}}" if content else ""


def _declared(definition: Definition, arrangement: Arrangement) -> str:
    """The inputs and options, and how many values each index takes."""
    inputs = [f"${latex(t.element, arrangement)}${known_of(t)}" for t in definition.inputs]
    options = [f"${_option(o)}${known_of(o)}" for o in definition.options]
    sizes = [f"${axis.name} < {latex(axis.size)}$" for axis in definition.axes]
    deltas = any(let.value.has(KroneckerDelta) for let in definition.lets)
    sentences = [
        f"Inputs: {', '.join(inputs)}.",
        f"Options: {', '.join(options)}." if options else "",
        f"Indices count from 0: {', '.join(sizes)}." if sizes else "",
        r"$\delta$ is 1 where its two indices are equal, and 0 elsewhere." if deltas else "",
    ]
    return " ".join(filter(None, sentences))


def _option(option: Option) -> str:
    if option.default is None:
        return latex(option.symbol)
    return f"{latex(option.symbol)} = {latex(Rational(str(option.default)))}"


def _updated(definition: Definition) -> str:
    """What buffers become, which is not differentiated."""
    pairs = [
        rf"${latex(definition.tensors[buffer].element)}$ becomes "
        rf"${latex(definition.tensors[let].element)}$"
        for buffer, let in definition.updates
    ]
    return f"Besides, {', and '.join(pairs)}." if pairs else ""


def _sought(derivation: Derivation, arrangement: Arrangement) -> str:
    seeds = ", ".join(f"${latex(seed.element, arrangement)}$" for seed in derivation.seeds)
    wanted = [latex(tensor.element, arrangement) for _, tensor in derivation.simplified.gradients]
    bar = r"A bar marks a cotangent: $\overline{x} = \partial L / \partial x$ for the loss $L$."
    sought = ", ".join(f"${element}$" for element in wanted)
    return f"{bar} Given {seeds}, sought {'are' if wanted[1:] else 'is'} {sought}."


def _simplification(told: Story, arrangement: Arrangement) -> Iterator[str]:
    if told.strands:
        yield r"\subsection*{Simplification}"
    for strand in told.main:
        yield from _strand(strand, arrangement)
    if told.aside:
        yield r"\subsection*{What only writes a gradient differently}"
    for strand in told.aside:
        yield from _strand(strand, arrangement)
    proof = told.verification
    yield (
        rf"Every step was evaluated before and after at {proof.points} points in 60 digits; "
        rf"the largest relative error is {_scientific(proof.largest_error)}."
    )


def _strand(strand: Strand, arrangement: Arrangement) -> Iterator[str]:
    """The moves of a strand as one chain of equalities, each after the words that justify it."""
    tensor = strand.tensor.element
    head = latex(tensor, arrangement)
    yield align([f"{head} &= {broken(strand.moves[0].sides[0], arrangement, beside=tensor)}"])
    for move in strand.moves:
        yield f"{_why(move)} {_because(move, arrangement)}".strip()
        right = broken(move.sides[1], arrangement, beside=tensor)
        yield align([rf"\phantom{{{head}}} &= {right}"])


def _why(move: Move) -> str:
    rule = move.step.rule
    error = _scientific(move.verified.largest_error)
    proof = rf"\hfill {{\footnotesize verified at {move.verified.points} points, error {error}}}"
    return rf"\paragraph{{{move.number}. {escaped(rule.name)}}} {rule.latex}. {proof}"


def _because(move: Move, arrangement: Arrangement) -> str:
    """The equations that a step used, and those from which they follow."""
    using = _equations(move.step.using, arrangement)
    reasons = _equations(move.step.reasons, arrangement)
    gone = ", ".join(f"${latex(term, arrangement)}$" for term in move.dropped)
    using += f", and {gone} drops out" if using and gone else ""
    if reasons:
        return rf"\\ Since {reasons}, it holds that {using}."
    return rf"\\ Here {using}." if using else ""


def _equations(pairs: Iterable[tuple[Expr, Expr]], arrangement: Arrangement) -> str:
    return ", ".join(
        f"${latex(left, arrangement)} = {latex(right, arrangement)}$" for left, right in pairs
    )


def _scientific(number: float) -> str:
    mantissa, _, exponent = f"{number:.1e}".partition("e")
    return rf"${mantissa} \cdot 10^{{{int(exponent)}}}$" if number else "$0$"


def _cost(derivation: Derivation) -> str:
    passes = (("chunked", derivation.chunked), ("simplified", derivation.simplified))
    rows = []
    for name, backward in passes:
        one = cost(backward, derivation)
        kept = ", ".join(f"${latex(derivation.tensors[r].symbol)}$" for r in one.residuals)
        rows.append(rf"{name} & {one.passes} & {one.reductions} & {kept or 'none'} \\")
    head = (
        r"\begin{tabular}{lrrp{0.6\textwidth}}"
        + "\n"
        + r" & passes & reductions & residuals \\ \hline"
    )
    return "\n".join([head, *rows, r"\end{tabular}"])
