"""A derivation as it is told: what comes first, what belongs together, what goes without saying.

The steps are those of the engine's trace, in its order. What is added is where a reader looks:
through which lets each cotangent arrives, what a step changed, how far it was verified, and which
steps are the main line of the argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from sympy import Add, Expr

from derive.calculus.trace import Derivation, Step
from derive.language.definition import Definition, Let, Tensor
from derive.language.expressions import names_in
from derive.printing.differences import changes
from derive.printing.marks import Marked
from derive.simplification.moments import about_the_mean
from derive.verification.verify import StepVerification, Verification, verify


@dataclass(frozen=True)
class Arrival:
    """A line of the chain rule: a cotangent, and the lets through which it arrives."""

    let: Let
    through: tuple[Tensor, ...]


@dataclass(frozen=True)
class Move:
    """A step with its number, how it was verified, and both sides with what differs marked."""

    number: int
    step: Step
    verified: StepVerification

    @cached_property
    def sides(self) -> tuple[Expr, Expr]:
        return changes(self.step.before, self.step.after)

    @property
    def dropped(self) -> tuple[Expr, ...]:
        """The terms that vanish in this step, where none takes their place."""
        old, new = (list(map(_whole, Add.make_args(side))) for side in self.sides)
        return tuple(filter(None, old)) if not any(new) else ()


def _whole(term: Expr) -> Expr | None:
    """What a term holds that is marked as a whole, its sign aside."""
    _, rest = term.as_coeff_Mul()
    return rest.part if isinstance(rest, Marked) else None


@dataclass(frozen=True)
class Strand:
    """The moves that lead to one cotangent."""

    tensor: Tensor
    moves: tuple[Move, ...]

    @property
    def start(self) -> Expr:
        return self.moves[0].step.before

    @property
    def end(self) -> Expr:
        return self.moves[-1].step.after

    @property
    def trivial(self) -> bool:
        """Whether it argues nothing, or leads back to where it began."""
        return self.start == self.end or not any(move.step.rule.argues for move in self.moves)


@dataclass(frozen=True)
class Story:
    """A derivation with its chain rule, its strands in the order of the trace, and the proof."""

    derivation: Derivation
    chain: tuple[Arrival, ...]
    strands: tuple[Strand, ...]
    verification: Verification

    @property
    def main(self) -> tuple[Strand, ...]:
        return tuple(strand for strand in self.strands if not strand.trivial)

    @property
    def aside(self) -> tuple[Strand, ...]:
        return tuple(strand for strand in self.strands if strand.trivial)


def story(derivation: Derivation) -> Story:
    """How a derivation is told."""
    proof = verify(derivation)
    moves = [
        Move(number, step, verified)
        for number, (step, verified) in enumerate(
            zip(derivation.steps, proof.by_step, strict=True), start=1
        )
    ]
    chunked, definition = derivation.chunked, about_the_mean(derivation.definition)
    strands = groupby(moves, key=lambda move: move.step.tensor)
    return Story(
        derivation=derivation,
        chain=tuple(
            _arrival(let, primal, definition)
            for let, primal in zip(chunked.lets, chunked.primals, strict=True)
        ),
        strands=tuple(Strand(tensor, tuple(own)) for tensor, own in strands),
        verification=proof,
    )


def _arrival(let: Let, primal: str, definition: Definition) -> Arrival:
    readers = [other.tensor for other in definition.lets if primal in names_in(other.value)]
    return Arrival(let, tuple(reader for reader in readers if not reader.integer))
