"""What stands on the page of one operation, before any format says how."""

from __future__ import annotations

import linecache
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING

from codegen import pipeline
from codegen.templating import digest
from derive.derivation import derive
from derive.language.definition import Definition
from derive.printing.arrange import Arrangement
from derive.printing.story import Story, story
from derive.printing.text import arrangement_of
from gradsmith.pages.code import Beside, side_by_side

if TYPE_CHECKING:
    from gradsmith.comparison import Comparison
    from gradsmith.pages.cost import Costs


@dataclass(frozen=True)
class Page:
    """An operation: its story, its emitted code beside its lets, and what running it showed.

    There are neither comparisons nor costs where the code was not run.
    """

    story: Story
    source: str
    forward: tuple[Beside, ...]
    backward: tuple[Beside, ...]
    comparisons: tuple[Comparison, ...] = ()
    costs: Costs | None = None

    @property
    def definition(self) -> Definition:
        return self.story.derivation.definition

    @property
    def arrangement(self) -> Arrangement:
        return arrangement_of(self.story.derivation)


def page(definition: Definition) -> Page:
    """Derive, emit, run and compare: everything that a page shows.

    Raises:
        CodegenError: the torch target cannot emit the definition.
        VerificationError: a step of the derivation changes a value.
    """
    from gradsmith.pages.compare import comparisons
    from gradsmith.pages.cost import costs

    module, source = _emitted(definition)
    unrun = written(definition, source)
    return replace(
        unrun,
        comparisons=comparisons(definition, module),
        costs=costs(unrun.story.derivation, module),
    )


def draft(definition: Definition) -> Page:
    """Derive and emit, and run nothing: what is shown while a person types. Needs no torch.

    Raises:
        CodegenError: the torch target cannot emit the definition.
        VerificationError: a step of the derivation changes a value.
    """
    return written(definition, pipeline.source(definition))


def _emitted(definition: Definition) -> tuple[ModuleType, str]:
    """The module of a definition and its source: the committed one where it is in step."""
    from gradsmith.emitted import emitted

    found = emitted(definition)
    if digest(definition, "torch") not in _source(found):
        found = pipeline.compile(definition)
    return found, _source(found)


def _source(module: ModuleType) -> str:
    return "".join(linecache.getlines(module.__file__ or ""))


def written(definition: Definition, source: str) -> Page:
    """A page of a definition whose emitted source is at hand, without what running it shows."""
    derivation, suffix = derive(definition), definition.variant and f"_{definition.variant}"
    forward, backward = derivation.forward, derivation.backward.lets
    return Page(
        story=story(derivation),
        source=source,
        forward=tuple(side_by_side(source, f"forward{suffix}", forward)),
        backward=tuple(side_by_side(source, f"backward{suffix}", backward, forward)),
    )
