"""The command line: cheap help, clear usage errors, and a table that is true."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from gradsmith.cli import COMMANDS, UNREAD, Entry, main

Command = Callable[..., Result]
EXPENSIVE = ("torch", "sympy", "matplotlib", "rich", "jinja2")


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_help_lists_every_command_and_imports_nothing_expensive() -> None:
    program = (
        "import sys\nfrom gradsmith.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"print('imported', [name for name in {EXPENSIVE} if name in sys.modules])"
    )
    finished = run("-c", program)
    assert finished.returncode == 0, finished.stderr
    for entry in COMMANDS:
        assert f"  {entry.name} " in finished.stdout
    assert "imported []" in finished.stdout


@pytest.mark.parametrize("name", [entry.name for entry in COMMANDS])
def test_each_commands_help_imports_neither_torch_nor_sympy(name: str) -> None:
    program = (
        "import sys\nfrom gradsmith.cli import main\n"
        f"main(['{name}', '--help'], standalone_mode=False)\n"
        "print('imported', [name for name in ('torch', 'sympy') if name in sys.modules])"
    )
    finished = run("-c", program)
    assert finished.returncode == 0, finished.stderr
    assert f"{name} [OPTIONS]" in finished.stdout
    assert "imported []" in finished.stdout


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_help_says_what_every_option_is_for(entry: Entry) -> None:
    for option in entry.load().params:
        if isinstance(option, click.Option):
            assert option.help, option.name


def test_there_is_one_file_for_each_command_and_no_other() -> None:
    folder = Path(__file__).parents[2] / "gradsmith" / "commands"
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert files == {entry.name for entry in COMMANDS}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [("list",), ("show", "tanh", "--format", "json")])
def test_a_full_disk_is_said_in_a_line(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        finished = subprocess.run(
            [sys.executable, "-m", "gradsmith", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert finished.returncode == 1
    assert finished.stderr == "Error: No space left on device\n"


@pytest.mark.parametrize(
    ("stream", "arguments"),
    [
        ("stdout", ("list",)),
        ("stdout", ("show", "tanh")),
        ("stdout", ("--help",)),
        ("stdout", ("list", "--help")),
        ("stderr", ("show", "nothing")),
        ("stderr", ("generate", "tanh")),
    ],
)
def test_a_command_that_nobody_reads_ends_quietly(
    stream: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    out = ("--out", tmp_path) if "generate" in arguments else ()
    finished = subprocess.run(
        [sys.executable, "-m", "gradsmith", *arguments, *out],
        stdout=writer if stream == "stdout" else subprocess.PIPE,
        stderr=writer if stream == "stderr" else subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert finished.returncode == UNREAD
    assert not finished.stdout and not finished.stderr


def test_a_seed_of_more_than_64_bits_is_refused(gradsmith: Command) -> None:
    result = gradsmith("check", "tanh", "--seed", 2**64)
    assert result.exit_code == 2
    assert "not in the range" in result.stderr


def test_the_module_runs_as_the_command_does() -> None:
    finished = run("-m", "gradsmith", "--version")
    assert (finished.returncode, finished.stdout.split()[0]) == (0, "gradsmith")


def test_an_unknown_command_is_a_usage_error(gradsmith: Command) -> None:
    result = gradsmith("derive-me")
    assert result.exit_code == 2
    assert "No such command 'derive-me'" in result.stderr
    assert "No such command 'shwo'. Did you mean 'show'?" in gradsmith("shwo").stderr


def test_what_a_file_defines_is_listed_as_the_library_is(
    gradsmith: Command, tmp_path: Path
) -> None:
    file = tmp_path / "two.grad"
    file.write_text("double: Twice the input.\ny[n] = 2*x[n]\n\nsq: The square.\ny[n] = x[n]**2\n")
    listed = gradsmith("list", "--definitions", file)
    assert listed.stdout == "double  Twice the input.\nsq      The square.\n"
    assert gradsmith("list", "--variants", "--definitions", file).stdout == listed.stdout
    file.write_text("y[n] = exq(x[n])")
    refused = gradsmith("list", "--definitions", file)
    assert refused.exit_code == 2
    assert "unknown function 'exq'" in refused.stderr


@pytest.mark.parametrize("command", ["show", "generate", "docs"])
def test_a_definition_without_a_value_is_the_users_to_put_right(
    command: str, gradsmith: Command, tmp_path: Path
) -> None:
    file = tmp_path / "rootless.grad"
    file.write_text("y[n] = log(-1 - x[n]**2)")
    out = [] if command == "show" else ["--out", str(tmp_path / "out")]
    result = gradsmith(command, "--definitions", str(file), *out)
    assert result.exit_code == 2
    assert "'operation' has no value at 120 random points" in result.stderr
    assert "as in x[n] (positive)" in result.stderr


def test_a_file_is_told_once_it_is_there(gradsmith: Command, tmp_path: Path) -> None:
    file = tmp_path / "double.grad"
    file.write_text("double: Twice the input.\ny[n] = 2*x[n]\n")
    in_the_way = tmp_path / "out"
    in_the_way.symlink_to(tmp_path / "nowhere" / "out")
    result = gradsmith("generate", "--definitions", file, "--out", in_the_way)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {in_the_way} cannot be written: ")


def test_what_there_is_to_write_is_told_of_each_folder(gradsmith: Command, tmp_path: Path) -> None:
    file, out = tmp_path / "double.grad", tmp_path / "out"
    file.write_text("double: Twice the input.\ny[n] = 2*x[n]\n")
    generate = ("generate", "--definitions", file, "--out", out)
    first = gradsmith(*generate).stderr
    assert first == f"new: {out}/double.py\n1 of 1 file written in {out}\n"
    in_c = gradsmith(*generate, "--target", "c").stderr
    assert in_c.startswith(f"1 file in step in {out}\nnew: {out}/c/")
    assert in_c.endswith(f"4 of 4 files written in {out}/c\n")
    in_step = f"1 file in step in {out}\n4 files in step in {out}/c\n"
    assert gradsmith(*generate, "--target", "c").stderr == in_step
    assert gradsmith(*generate, "--target", "c", "--check").stderr == in_step


def test_what_another_file_of_the_same_name_defines_is_left_alone(
    gradsmith: Command, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        file = tmp_path / name / "mine.grad"
        file.parent.mkdir()
        file.write_text(f"{name}: The squares.\ny[n] = x[n]**2\n")
        result = gradsmith("generate", "--definitions", str(file), "--out", str(tmp_path / "out"))
        assert result.exit_code == 0
        assert "1 of 1 file written" in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.py", "two.py"]


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ("check tanh --opinfo --seed 3", "--opinfo excludes --seed"),
        ("check tanh --opinfo --option a=1", "--opinfo excludes --option"),
        ("check tanh --opinfo --json", "--opinfo excludes --json"),
        ("check tanh --device cuda", "--device goes with --opinfo"),
        ("check tanh --opinfo --device cuda --target c", "on the CPU alone"),
        ("check tanh --opinfo --device gpu", "device 'gpu'"),
        ("check tanh --against x.py:f --target c", "--against excludes --target"),
        ("show tanh --format c --steps", "--steps is for the formats of a derivation, not c"),
        ("bench tanh --target c --kernels", "--target c excludes --kernels"),
        ("bench tanh --target c --no-compile --kernels", "--target c excludes --kernels"),
        ("bench tanh --target c --compile", "--target c excludes --compile"),
        ("bench tanh --kernels --rounds 3", "--kernels excludes --rounds"),
    ],
)
def test_an_option_that_would_be_of_no_use_is_refused(
    given: str, refused: str, gradsmith: Command
) -> None:
    result = gradsmith(*given.split())
    assert result.exit_code == 2
    assert refused in result.stderr


@pytest.mark.parametrize("command", ["generate", "docs", "train"])
def test_a_file_is_no_folder_to_write_into(
    gradsmith: Command, tmp_path: Path, command: str
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    result = gradsmith(command, "--out", file)
    assert result.exit_code == 2
    assert f"'{file}' is a file" in result.stderr
    assert file.read_text() == "mine"


def test_what_somebody_wrote_is_not_generated_over(gradsmith: Command, tmp_path: Path) -> None:
    mine = tmp_path / "tanh.py"
    mine.write_text("print('mine')\n")
    result = gradsmith("generate", "tanh", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert f"{mine} is not one of gradsmith's files" in result.stderr
    assert mine.read_text() == "print('mine')\n"


def test_a_diff_is_shown_and_not_carried_out(gradsmith: Command, tmp_path: Path) -> None:
    result = gradsmith("generate", "tanh", "--out", str(tmp_path), "--diff")
    assert result.exit_code == 0
    assert "+++ b/tanh.py" in result.stdout
    assert not list(tmp_path.iterdir())


def test_a_page_does_not_take_the_place_of_its_definition(
    gradsmith: Command, tmp_path: Path
) -> None:
    file = tmp_path / "twice.grad"
    file.write_text("twice: S.\ny[n] = 2*x[n]\n")
    result = gradsmith("show", "--definitions", str(file), "-o", str(file))
    assert result.exit_code == 2
    assert "would take the place of the definitions" in result.stderr
    assert file.read_text() == "twice: S.\ny[n] = 2*x[n]\n"


def test_a_variant_is_not_generated_in_place_of_its_operation(gradsmith: Command) -> None:
    result = gradsmith("generate", "mse_loss[sum]", "--check")
    assert result.exit_code == 2
    assert "mse_loss[sum] is a variant: mse_loss is written with all that it has" in result.stderr


def test_a_word_is_completed_without_importing_a_command() -> None:
    context = click.Context(main, info_name="gradsmith")
    assert [item.value for item in main.shell_complete(context, "ex")] == ["exercise"]


def test_the_completion_script_is_printed_for_each_shell() -> None:
    for shell in ("bash", "zsh", "fish"):
        finished = subprocess.run(
            [sys.executable, "-c", "from gradsmith.cli import main; main(prog_name='gradsmith')"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "_GRADSMITH_COMPLETE": f"{shell}_source"},
        )
        assert "gradsmith" in finished.stdout, finished.stderr
