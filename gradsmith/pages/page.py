"""What stands on the page of one operation, before any format says how."""

from __future__ import annotations

import linecache
from dataclasses import dataclass

from codegen import pipeline
from derive.arrange import Arrangement
from derive.derivation import derive
from derive.language import Definition
from derive.story import Story, story
from derive.text import arrangement_of
from gradsmith.comparison import Comparison
from gradsmith.pages.code import Beside, side_by_side
from gradsmith.pages.compare import comparisons
from gradsmith.pages.cost import Costs, costs


@dataclass(frozen=True)
class Page:
    """An operation: its story, its emitted code beside its lets, and what running it showed."""

    story: Story
    source: str
    forward: tuple[Beside, ...]
    backward: tuple[Beside, ...]
    comparisons: tuple[Comparison, ...]
    costs: Costs

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
    derivation = derive(definition)
    module = pipeline.compile(definition)
    source = "".join(linecache.getlines(module.__file__ or ""))
    return Page(
        story=story(derivation),
        source=source,
        forward=tuple(side_by_side(source, "forward", derivation.forward)),
        backward=tuple(side_by_side(source, "backward", derivation.backward.lets)),
        comparisons=comparisons(definition, module),
        costs=costs(derivation, module),
    )
