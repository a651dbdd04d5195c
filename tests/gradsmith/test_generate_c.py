"""`generate --target c` writes what can be imported from where it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Command = Callable[..., Result]

DEFINITIONS = '''
"""Operations of somebody else's."""

from derive import Mean, Sum, define, delta, exp, log

op = define("info_nce", "Contrastive loss of pairs.")
i, d = op.axes("i d")
j = i.another("j")
u, v = op.input("u", i, d), op.input("v", i, d)
temperature = op.option("temperature", 0.07, positive=True)
scores = op.let("scores", [i, j], Sum(u[i, d] * v[j, d], d) / temperature)
p = op.let("p", [i, j], exp(scores[i, j]) / Sum(exp(scores[i, j]), j))
info_nce = op.build(op.let("loss", [], -Mean(log(p[i, i]), i)))
'''

PROGRAM = """
import torch
from emitted.c.info_nce import backward, forward, info_nce, value_and_grad
from emitted.c.loader import compiler

u, v = (torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
labels = torch.arange(5)
expected = torch.nn.functional.cross_entropy(u @ v.T / 0.07, labels)
loss = info_nce(u, v, temperature=0.07)
assert torch.allclose(loss, expected)
gradients = torch.autograd.grad(loss, (u, v))
for mine, theirs in zip(gradients, torch.autograd.grad(expected, (u, v)), strict=True):
    assert torch.allclose(mine, theirs)
loss, gradients = value_and_grad(u.detach(), v.detach(), temperature=0.07)
assert torch.allclose(loss, expected)
assert type(forward(u.detach(), v.detach())[1]).__module__ == "emitted.c.info_nce"
print(compiler() is not None)
"""


def test_what_is_written_is_imported_from_its_parent_folder(
    c_compiler: None, tmp_path: Path, gradsmith: Command
) -> None:
    (tmp_path / "mine.py").write_text(DEFINITIONS)
    out = tmp_path / "emitted"
    result = gradsmith(
        *("generate", "--target", "c", "--definitions", tmp_path / "mine.py", "--out", out)
    )
    assert result.exit_code == 0, result.output
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == [
        *("c/__init__.py", "c/info_nce.c", "c/info_nce.py", "c/loader.py", "info_nce.py"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"


def test_headers_say_what_writes_each_file_again(tmp_path: Path, gradsmith: Command) -> None:
    (tmp_path / "mine.py").write_text(DEFINITIONS)
    arguments = ("generate", "--target", "c", "--definitions", tmp_path / "mine.py")
    assert gradsmith(*arguments, "--out", tmp_path).exit_code == 0
    in_torch, in_c = ((tmp_path / file).read_text() for file in ("info_nce.py", "c/info_nce.c"))
    assert "`gradsmith generate --definitions mine.py`" in in_torch
    assert "`gradsmith generate --target c --definitions mine.py`" in in_c


@pytest.mark.parametrize("file", ["info_nce.py", "c/info_nce.c", "c/info_nce.py", "c/loader.py"])
def test_a_file_of_either_language_out_of_step_is_told(
    file: str, tmp_path: Path, gradsmith: Command
) -> None:
    (tmp_path / "mine.py").write_text(DEFINITIONS)
    arguments = ("generate", "--target", "c", "--definitions", tmp_path / "mine.py")
    arguments += ("--out", tmp_path / "out")
    assert gradsmith(*arguments).exit_code == 0
    assert gradsmith(*arguments, "--check").exit_code == 0
    with (tmp_path / "out" / file).open("a") as changed:
        changed.write("\n")
    checked = gradsmith(*arguments, "--check")
    assert checked.exit_code == 1
    assert f"changed: {tmp_path / 'out' / file}" in checked.stderr
    assert gradsmith(*arguments).exit_code == 0
    assert gradsmith(*arguments, "--check").exit_code == 0
