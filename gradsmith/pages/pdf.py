"""From a LaTeX document to a PDF, by whichever of LaTeX's programs is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from gradsmith.errors import Failure, UserError

PROGRAMS = {
    "latexmk": ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-quiet"],
    "tectonic": ["tectonic", "--only-cached"],
    "pdflatex": ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"],
}
_SECONDS = 120


def pdf(document: str) -> bytes:
    """The PDF of a LaTeX document.

    Raises:
        UserError: no LaTeX is installed; the message says what to install.
        Failure: LaTeX does not accept the document.
    """
    program = next((name for name in PROGRAMS if shutil.which(name)), None)
    if program is None:
        raise UserError(
            f"--format pdf needs one of {', '.join(PROGRAMS)}, and none is installed; on Debian: "
            "apt-get install texlive-latex-recommended latexmk. --format latex needs none"
        )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.tex").write_text(document, encoding="utf-8")
        try:
            done = subprocess.run(
                [*PROGRAMS[program], "page.tex"],
                cwd=folder,
                capture_output=True,
                timeout=_SECONDS,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"{program} did not finish in {_SECONDS} s") from None
        made = Path(folder) / "page.pdf"
        if done.returncode or not made.exists():
            said = done.stdout.decode(errors="replace").strip().splitlines()
            problem = next((line for line in said if line.startswith("!")), " ".join(said[-1:]))
            raise Failure(f"{program} failed: {problem}")
        return made.read_bytes()
