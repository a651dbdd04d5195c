"""Feeds the reader of the text form what coverage suggests: `python fuzz_reading.py CORPUS`.

No input may do anything but be read, and then written and read back as the same, or be refused.
`test_reading.py` runs this for a few seconds; `-max_total_time=600` runs it for ten minutes.
"""

from __future__ import annotations

import resource
import sys
from importlib import import_module
from typing import Any

atheris: Any = import_module("atheris")  # which is not there on every machine

with atheris.instrument_imports(
    include=["derive.notation.grammar", "derive.notation.reading", "derive.notation.formulas"]
):
    from derive.language.definition import Definition, DefinitionError
    from derive.notation.grammar import TextError
    from derive.notation.reading import read
    from derive.printing.writing import definition_text


def unknown(name: str) -> Definition:
    """No definition can be looked up here."""
    raise DefinitionError(f"unknown operation {name!r}")


def try_one(data: bytes) -> None:
    """Read a text; what is read is written, and read back as the same."""
    try:
        found = read(data.decode("utf-8", "ignore"), unknown)
    except TextError:
        return
    for name, definition in found.items():
        text = definition_text(definition)
        assert definition_text(read(text, unknown)[name]) == text, text


if __name__ == "__main__":
    # libFuzzer's own limit is on the largest memory ever held, which a process inherits from
    # the one that started it: a suite that held more would fail this.
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    atheris.Setup([*sys.argv, "-rss_limit_mb=0"], try_one)
    atheris.Fuzz()
