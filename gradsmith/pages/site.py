"""A static site: a page for each operation, and one that lists and finds them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from derive.derivation import derive
from derive.language import Definition
from gradsmith.pages import html
from gradsmith.pages.page import page

INDEX = "index.html"
_WORTH_PROCESSES = 4


def write(definitions: Sequence[Definition], folder: Path) -> Iterator[Path]:
    """Write the site into a folder, made where it is missing; each file as it is done.

    Other files in the folder are left alone.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cards: dict[str, html.Card] = {}
    for name, content, card in _pages(definitions):
        cards[name] = card
        yield _written(folder / f"{name}.html", content)
    in_order = [cards[definition.name] for definition in definitions]
    yield _written(folder / INDEX, html.index(in_order))


def _pages(definitions: Sequence[Definition]) -> Iterator[tuple[str, str, html.Card]]:
    if len(definitions) < _WORTH_PROCESSES:
        yield from map(_page, definitions)
        return
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(definitions))) as pool:
        for done in as_completed([pool.submit(_page, definition) for definition in definitions]):
            yield done.result()


def _page(definition: Definition) -> tuple[str, str, html.Card]:
    content = html.operation(page(definition), index=INDEX)
    return definition.name, content, html.card(derive(definition))


def _written(file: Path, content: str) -> Path:
    """A file is there whole, or as it was before."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        unfinished.write_text(content, encoding="utf-8")
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
    return file
