"""The font of the mathematics, inside each page: what a page needs of STIX Two Math.

Few machines without it or its like set stretched brackets and sums as they should be. The font
comes with the `ziamath` package; the part of it that formulas use is made once and kept in the
user's cache.
"""

from __future__ import annotations

import base64
import hashlib
import io
from contextlib import suppress
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from platformdirs import user_cache_path

from codegen.writer import write_whole

_FONT = "ziamath/fonts/STIXTwoMath-Regular.ttf"
_RANGES = (
    (0x20, 0x7E),
    (0x391, 0x3C9),  # Greek
    (0x1D434, 0x1D467),  # italic letters, which have a place of their own in Unicode
    (0x1D6E2, 0x1D71B),  # italic Greek
)
_SIGNS = "\u210e\u2211\u220f\u221a\u2212\u2202\u2264\u2265\u2260\u2227\u2228\u00ac\u221e\u00b7"
_SIGNS += "\u230a\u230b\u2308\u2309\u02d9\u203e\u02c6\u02dc\u2026\u2061"
_FEATURES = ["ssty", "dtls", "flac", "kern"]  # script sizes, dotless letters, flat accents


@cache
def face() -> str:
    """A `@font-face` rule that holds the font, under the name `Mathematics`."""
    data = base64.b64encode(_subset()).decode()
    source = f"url(data:font/woff;base64,{data}) format('woff')"
    return f'@font-face {{ font-family: "Mathematics"; src: {source}; }}'


def _subset() -> bytes:
    """The part of the font that formulas use, from the cache or made anew."""
    # found without an import of the package, which would cost more than all the rest
    whole = Path(str(distribution("ziamath").locate_file(_FONT))).read_bytes()
    letters = "".join(chr(code) for first, last in _RANGES for code in range(first, last + 1))
    key = hashlib.sha256(whole + (letters + _SIGNS + str(_FEATURES)).encode()).hexdigest()[:16]
    kept = user_cache_path("gradsmith") / f"mathematics-{key}.woff"
    try:
        return kept.read_bytes()
    except OSError:
        made = _made(whole, letters + _SIGNS)
    _keep(kept, made)
    return made


def _made(whole: bytes, letters: str) -> bytes:
    from fontTools import subset
    from fontTools.ttLib import TTFont

    options = subset.Options()
    options.layout_features = _FEATURES
    options.hinting = False
    options.name_IDs = [0, 1, 2, 13, 14]  # whose it is, and its licence
    font = TTFont(io.BytesIO(whole), lazy=True, recalcTimestamp=False)
    cutter = subset.Subsetter(options)
    cutter.populate(text=letters)
    cutter.subset(font)
    font.flavor = "woff"
    stream = io.BytesIO()
    font.save(stream)
    return stream.getvalue()


def _keep(file: Path, content: bytes) -> None:
    """Put the font where it is found next time; where that cannot be, it is made again."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
