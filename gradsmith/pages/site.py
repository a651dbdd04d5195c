"""A static site: a page for each definition of each operation, and one that finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from codegen.processes import in_processes
from codegen.writer import write_whole
from derive.derivation import derive
from derive.language.definition import Definition
from gradsmith.pages import html
from gradsmith.pages.page import page
from gradsmith.pages.variants import Listed, listed

INDEX = "index.html"


def write(definitions: Sequence[Definition], folder: Path) -> Iterator[Path]:
    """Write the site into a folder, made where it is missing; each file as it is done.

    Other files in the folder are left alone.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cards: dict[str, html.Card] = {}
    for name, content, card in _pages(definitions):
        if card:
            cards[card.name] = card
        write_whole(folder / name, content.encode())
        yield folder / name
    in_order = [cards[definition.name] for definition in definitions]
    write_whole(folder / INDEX, html.index(in_order).encode())
    yield folder / INDEX


Made = tuple[str, str, html.Card | None]
"""The name of a file and its content; of an operation's usual definition also its card."""

Work = tuple[Definition, Listed, tuple[Listed, ...]]
"""A definition of an operation, what is said of it, and of all of them."""


def _pages(definitions: Sequence[Definition]) -> Iterator[Made]:
    return in_processes(_page, [each for one in definitions for each in _works(one)])


def _works(operation: Definition) -> list[Work]:
    siblings = listed(operation)
    own = (operation, *operation.variants[1:])  # the usual one with its public function
    return [(one, said, siblings) for one, said in zip(own, siblings, strict=True)]


def _page(work: Work) -> Made:
    definition, own, siblings = work
    content = html.operation(page(definition), index=INDEX, siblings=siblings)
    card = None if definition.variant else html.card(derive(definition), siblings)
    return own.address, content, card
