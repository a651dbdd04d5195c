"""`gradsmith list`, `new` and `show`: from nothing to a derivation on a page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import Result

from derive import library
from derive.files import load_definitions

pytestmark = pytest.mark.slow

Command = Callable[..., Result]


def test_list_has_one_line_for_each_operation(gradsmith: Command) -> None:
    result = gradsmith("list")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == library.names()
    for line in lines:
        name, _, summary = line.partition("  ")
        assert summary.strip() == library.load(name).summary


def test_new_writes_a_definition_that_works_as_it_is(gradsmith: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    made = gradsmith("new", "tilt", file)
    assert (made.exit_code, made.stdout) == (0, f"{file}\n")
    assert f"gradsmith show tilt --definitions {file}" in made.stderr
    shown = gradsmith("show", "tilt", "--definitions", file)
    assert shown.exit_code == 0
    assert "grad_x[n,c]" in shown.stdout and "grad_weight[c]" in shown.stdout


def test_new_takes_the_operations_name_for_the_files(
    gradsmith: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert gradsmith("new", "tilt").exit_code == 0
    assert list(load_definitions("tilt.py")) == ["tilt"]


@pytest.mark.parametrize("name", ["op", "n", "x", "define", "Mean", "mean", "y"])
def test_new_works_for_a_name_that_the_scaffold_uses_itself(
    gradsmith: Command, tmp_path: Path, name: str
) -> None:
    gradsmith("new", name, tmp_path / "any.py")
    assert gradsmith("show", name, "--definitions", tmp_path / "any.py").exit_code == 0


def test_new_never_overwrites(gradsmith: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("precious")
    result = gradsmith("new", "tilt", file)
    assert result.exit_code == 2
    assert f"{file} exists" in result.stderr
    assert file.read_text() == "precious"


@pytest.mark.parametrize("name", ["two words", "2fast", "lambda", "grad_x", "../evil"])
def test_new_refuses_a_name_that_is_no_identifier(
    gradsmith: Command, tmp_path: Path, name: str
) -> None:
    result = gradsmith("new", name, tmp_path / "mine.py")
    assert result.exit_code == 2
    assert repr(name) in result.stderr
    assert not list(tmp_path.iterdir())


def test_new_says_where_it_cannot_write(gradsmith: Command, tmp_path: Path) -> None:
    result = gradsmith("new", "tilt", tmp_path / "missing" / "mine.py")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_show_prints_definition_gradient_and_cost_and_nothing_on_stderr(
    gradsmith: Command,
) -> None:
    result = gradsmith("show", "cross_entropy")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "grad_logits[n,k] = grad_loss*(p[n,k] - delta(k, target[n]))/N" in result.stdout
    assert "simplified       1           0  target, p" in result.stdout
    assert "change of variables" not in result.stdout


def test_show_steps_names_the_rules(gradsmith: Command) -> None:
    result = gradsmith("show", "batch_norm", "--steps")
    for rule in ("chain rule", "change of variables", "reduction identity", "factor"):
        assert f". {rule}: " in result.stdout


def test_show_is_as_wide_as_the_terminal_and_a_file_as_it_always_is(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    command = [sys.executable, "-m", "gradsmith", "show", "batch_norm", "--steps"]
    environment = {**os.environ, "COLUMNS": "70"}
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, env=environment) as running:
        os.close(theirs)
        seen = b""
        with suppress(OSError):  # raised at the end of what a terminal is given
            while more := os.read(ours, 1 << 16):
                seen += more
    os.close(ours)
    assert running.returncode == 0
    assert 60 < max(map(len, seen.decode().splitlines())) <= 70
    piped = subprocess.run(command, capture_output=True, env=environment, check=True).stdout
    assert max(map(len, piped.decode().splitlines())) > 100


def test_show_wrt_derives_one_gradient_only(gradsmith: Command) -> None:
    result = gradsmith("show", "batch_norm", "--wrt", "bias")
    assert "grad_bias[c] = sum_n(grad_y[n,c])" in result.stdout
    assert "grad_weight" not in result.stdout


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("text", "grad_first_grad_y[n] = grad_first_grad_x[n]*x_chosen[n]"),
        ("latex", r"\overline{\overline{y}^{(1)}}"),
        ("html", "grad_first_grad_y"),
        ("json", '"name": "relu_backward"'),
        ("torch", "grad_first_grad_y = grad_first_grad_x * x_chosen"),
        ("c", "= grad_first_grad_x[n] * x_chosen;"),
    ],
)
def test_show_order_2_derives_the_gradient_of_the_backward_pass(
    gradsmith: Command, form: str, line: str
) -> None:
    result = gradsmith("show", "relu", "--order", "2", "--format", form)
    assert result.exit_code == 0
    assert line in result.stdout


VARIANTS = """
from derive import define
from derive.language.builder import reductions
op = define("off", "Squared error.")
op.called("input: x, target, reduction='mean'")
n = op.axes("n", "elements")
x, target = op.input("x", n), op.input("target", n)
off = op.build(op.cases("loss", "reduction", reductions((x[n] - target[n]) ** 2, n)))
"""


def test_show_prints_the_code_of_one_variant_that_would_be_emitted(gradsmith: Command) -> None:
    shown = gradsmith("show", "mse_loss[sum]", "--format", "torch").stdout
    emitted = (Path(__file__).parents[2] / "generated" / "mse_loss.py").read_text()
    function = emitted[emitted.index("def backward_sum(") :].partition("\n\n\n")[0]
    assert function in shown
    assert "\ndef backward(" not in shown


@pytest.mark.parametrize("form", ["text", "latex", "html", "json"])
def test_show_takes_a_variant_of_the_library_and_of_a_file(
    gradsmith: Command, tmp_path: Path, form: str
) -> None:
    file = tmp_path / "off.py"
    file.write_text(VARIANTS)
    for asked in (["mse_loss[sum]"], ["off[sum]", "--definitions", file]):
        shown = gradsmith("show", *asked, "--format", form).stdout
        name = asked[0] if form != "json" else '"variant": "sum"'
        assert str(name) in shown.replace("\\_", "_")
    wrong = gradsmith("show", "off[none_]", "--definitions", file)
    assert wrong.exit_code == 2 and "it has sum, none" in wrong.stderr


def test_show_writes_a_latex_document_to_a_file(gradsmith: Command, tmp_path: Path) -> None:
    file = tmp_path / "page.tex"
    result = gradsmith("show", "softmax", "--steps", "--format", "latex", "-o", file)
    assert (result.exit_code, result.stdout) == (0, "")
    assert file.read_text() == gradsmith("show", "softmax", "--steps", "--format", "latex").stdout
    assert file.read_text().startswith("\\documentclass")


README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("ending", ["html", "tex", "json", "py", "txt"])
def test_a_file_is_written_as_what_its_name_says(
    ending: str, gradsmith: Command, tmp_path: Path
) -> None:
    forms = {"html": "html", "tex": "latex", "json": "json", "py": "torch", "txt": "text"}
    file = tmp_path / f"page.{ending}"
    assert gradsmith("show", "tanh", "-o", file).exit_code == 0
    assert file.read_text() == gradsmith("show", "tanh", "--format", forms[ending]).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("softmax", "--definitions", str(README)), "is Python, .py, or text, .grad"),
        (("sofmax",), "did you mean 'softmax'?"),
        (("walrus",), "`gradsmith list` shows those it has"),
        (("mine.grad",), "a file is given with --definitions"),
        (("batch_norm", "--wrt", "z"), "'z' in 'batch_norm': unknown name"),
        (("cross_entropy", "--wrt", "target"), "integer tensor cannot be differentiated"),
        (("softmax", "--definitions", "missing.py"), "missing.py: there is no such file"),
        (("softmax", "-o", "missing/page.txt"), "cannot be written"),
        (("softmax", "--format", "docx"), "'docx' is not one of"),
        (("softmax", "--format", "pdf"), "needs -o FILE"),
        (("softmax", "--fragment"), "--fragment is for --format latex and html, not text"),
        ((), "show needs OP"),
        (("softmax", "--definitions", "missing.grad"), "missing.grad: there is no such file"),
        (("--text", "y[n] = sqrt(-1)*x[n]"), "'y' holds no real number: a root"),
        (("--text", "y[n] = log(-1)*x[n]"), "'y' holds no real number: a root or a logarithm"),
        (("--text", "y[n] = exq(x[n])"), "line 1, column 8: unknown function 'exq'"),
    ],
)
def test_a_mistake_in_the_call_is_named_and_exits_with_2(
    gradsmith: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = gradsmith("show", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


SEVERAL = """
good: Twice the input.
y[n] = 2*x[n]

bad: A mistake.
y[n] = exq(x[n])

worse: No sign.
y[n] = 2 x[n]

uses: One that has a mistake.
inputs x[n]
use bad(x = x) as z
y[n] = z[n]

last: The same as the first.
inputs x[n]
use good(x = x) as z
y[n] = z[n]
"""


def test_a_mistake_in_one_definition_of_a_text_leaves_the_others(
    gradsmith: Command, tmp_path: Path
) -> None:
    file = tmp_path / "several.grad"
    file.write_text(SEVERAL)
    for name in ("good", "last"):
        result = gradsmith("show", name, "--definitions", file)
        assert (result.exit_code, result.stderr) == (0, "")
    for name, message in (
        ("bad", "line 6, column 8: unknown function 'exq'"),
        ("worse", "line 9, column 10: 'x' does not belong here"),
        ("uses", "line 6, column 8: unknown function 'exq'"),
    ):
        result = gradsmith("show", name, "--definitions", file)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr
    listed = gradsmith("list", "--definitions", file)
    assert listed.stdout == "good  Twice the input.\nlast  The same as the first.\n"
    assert listed.exit_code == 2 and "unknown function 'exq'" in listed.stderr
    checked = gradsmith("check", "--definitions", file)
    assert checked.exit_code == 2 and "2 of 2 gradients agree" in checked.stderr
    whole = gradsmith("generate", "--definitions", file, "--out", tmp_path / "out")
    assert whole.exit_code == 2 and not (tmp_path / "out").exists()
    for one in (checked, whole):
        assert "unknown function 'exq'" in one.stderr and "'x' does not belong" in one.stderr


def test_a_mistake_in_a_file_is_named_with_its_line(gradsmith: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    gradsmith("new", "tilt", file)
    lines = file.read_text().splitlines()
    wrong = next(number for number, line in enumerate(lines, 1) if line.startswith("y = "))
    lines[wrong - 1] = lines[wrong - 1].replace("weight[c]", "weight[n]")
    file.write_text("\n".join(lines))
    result = gradsmith("show", "tilt", "--definitions", file)
    assert result.exit_code == 2
    assert f"{file}:{wrong}: " in result.stderr
    assert "axis 'c' of weight[c]" in result.stderr


def test_a_definition_without_a_value_anywhere_is_the_users_to_put_right(
    gradsmith: Command, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    gradsmith("new", "tilt", file)
    file.write_text(
        file.read_text().replace("sqrt(Mean(", "sqrt(-1 - Mean(").replace(" + eps)", ")")
    )
    result = gradsmith("show", "tilt", "--definitions", file)
    assert result.exit_code == 2
    assert "'tilt' has no value" in result.stderr and "let 'rms'" in result.stderr


def test_the_gradient_of_an_output_is_what_is_given(gradsmith: Command) -> None:
    assert "what the backward pass is given" in gradsmith("show", "tanh", "--wrt", "h").stdout


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("Mean(x[n] if x[n] > 0 else 0, n)", "a choice is written Where(x[n] > 0, a, b)"),
        ("sum(x[n])", "a sum over an axis is written Sum(x[n], n)"),
        ("x[n].sum()", "write Sum(x[n], n), exp(x[n]), with derive's"),
    ],
)
def test_what_is_no_index_notation_is_told_how_it_is_written(
    gradsmith: Command, tmp_path: Path, value: str, hint: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from derive import *\n"
        "op = define('mine', 'Mine.')\n"
        "n = op.axes('n')\n"
        "x = op.input('x', n)\n"
        f"mine = op.build(op.let('y', [], {value}))\n"
    )
    result = gradsmith("show", "--definitions", file)
    assert result.exit_code == 2
    assert f"{file}:5: " in result.stderr and hint in result.stderr


def test_an_operation_that_the_file_does_not_have_is_told_what_it_has(
    gradsmith: Command, tmp_path: Path
) -> None:
    gradsmith("new", "tilt", tmp_path / "mine.py")
    result = gradsmith("show", "softmax", "--definitions", tmp_path / "mine.py")
    assert result.exit_code == 2
    assert "has no operation 'softmax'; it has 'tilt'" in result.stderr


def test_of_several_definitions_one_is_named(gradsmith: Command, tmp_path: Path) -> None:
    file = tmp_path / "two.grad"
    file.write_text("one: Twice.\ny[n] = 2*x[n]\n\ntwo: Thrice.\ny[n] = 3*x[n]\n")
    result = gradsmith("show", "--definitions", file)
    assert result.exit_code == 2
    assert f"{file} defines one, two: show needs the name of one" in result.stderr
    assert "y[n] = 3*x[n]" in gradsmith("show", "two", "--definitions", file).stdout


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("show", "softmax", "--steps"), ("show", "softmax", "--format", "latex")],
)
def test_neither_listing_nor_deriving_imports_torch(arguments: tuple[str, ...]) -> None:
    program = (
        "import sys\nfrom gradsmith.cli import main\n"
        f"main({list(arguments)}, standalone_mode=False)\n"
        "print('imported torch:', 'torch' in sys.modules)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.endswith("imported torch: False\n")


@pytest.mark.parametrize("form", ["text", "latex"])
def test_a_page_is_the_same_under_any_hash_seed(form: str) -> None:
    pages = {
        subprocess.run(
            [sys.executable, "-m", "gradsmith", "show", "layer_norm", "--steps", "--format", form],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(pages) == 1


def test_what_the_emitted_code_keeps_instead_is_said(gradsmith: Command) -> None:
    kept = "works ahead\n  dy_dx; x for second derivatives\n"
    assert gradsmith("show", "gelu").stdout.endswith(kept)
    assert gradsmith("show", "leaky_relu").stdout.endswith("works ahead\n  dy_dx\n")
    assert "works ahead" not in gradsmith("show", "tanh").stdout


def test_gradients_of_a_backward_pass_are_those_of_the_inputs_that_are_shown(
    gradsmith: Command,
) -> None:
    result = gradsmith("show", "tanh", "--order", 2, "--wrt", "first_grad_h")
    assert result.exit_code == 0, result.output
    gradient = result.stdout[result.stdout.index("\nGradient\n") :]
    assert "grad_first_grad_h[n,c] = grad_first_grad_x[n,c]*one_minus_h_squared[n,c]" in gradient
    assert "grad_x[n,c] =" not in gradient.replace("first_grad_x", "")
