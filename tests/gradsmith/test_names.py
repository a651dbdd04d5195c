"""The data set is the notebook's, and a names file that cannot be used says why and where."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from gradsmith.makemore import dataset as names
from gradsmith.makemore.dataset import DatasetError


def test_the_default_names_are_those_that_are_shipped() -> None:
    found = names.read_names(names.default_file())
    assert (len(found), found[:3], found[-1][-3:]) == (32257, ["emma", "olivia", "ava"], "yzx")


def test_the_vocabulary_begins_with_the_end_mark_and_is_sorted() -> None:
    assert names.vocabulary_of(["bob", "eve"]) == (".", "b", "e", "o", "v")


def test_each_character_is_predicted_from_the_three_before_it() -> None:
    split = names.examples(["ab"], (".", "a", "b"))
    assert split.X.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2]]
    assert split.Y.tolist() == [1, 2, 0]


def test_names_are_shuffled_and_split_as_in_the_notebook(few_names: Path) -> None:
    words = few_names.read_text().splitlines()
    vocabulary = names.vocabulary_of(words)
    random.seed(42)
    random.shuffle(words)
    n1, n2 = int(0.8 * len(words)), int(0.9 * len(words))
    data = names.load(few_names)
    for split, part in zip(
        (data.train, data.val, data.test), (words[:n1], words[n1:n2], words[n2:]), strict=True
    ):
        expected = names.examples(part, vocabulary)
        assert torch.equal(split.X, expected.X)
        assert torch.equal(split.Y, expected.Y)


def test_loading_leaves_the_global_random_state_alone(few_names: Path) -> None:
    before = random.getstate()
    names.load(few_names)
    assert random.getstate() == before


def test_the_notebooks_file_gives_the_notebooks_sizes(notebook_data: names.Dataset) -> None:
    sizes = [len(s) for s in (notebook_data.train, notebook_data.val, notebook_data.test)]
    assert sizes == [182625, 22655, 22866]


def test_a_byte_order_mark_is_no_letter(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes("anna\nben\ncleo\n".encode("utf-8-sig"))
    assert names.read_names(file) == ["anna", "ben", "cleo"]


def test_windows_line_ends_and_a_missing_last_one_make_no_difference(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes(b"ann\r\nbob\r\ncy")
    assert names.read_names(file) == ["ann", "bob", "cy"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"ann\n\nbob\ncy\n", "line 2 is blank"),
        (b"ann\nbob\n  \t\ncy\n", "line 3 is blank"),
        (b"ann\nbob\ncy\n\n", "line 4 is blank"),
        (b"ann\nbob\nz\xfcrich\n", "line 3 is not UTF-8: byte 0xfc at column 2"),
        (b"ann\nbob\n", "line 2 is the last; wanted at least three names, got 2"),
        (b"ann\nb\x1b[31mb\ncy\n", "line 2 has the control character '\\x1b' at column 2"),
        (b"ann\nbob\tby\ncy\n", "line 2 has the control character '\\t' at column 4"),
        (b"ann\nbob\nc\xc2\x9by\n", "line 3 has the control character '\\x9b' at column 2"),
        (b"ann\nb.b\ncy\n", "line 2 has '.' in 'b.b'"),
    ],
)
def test_a_bad_names_file_is_named_with_its_line(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "bad.txt"
    file.write_bytes(content)
    with pytest.raises(DatasetError) as raised:
        names.load(file)
    assert str(file) in raised.value.message
    assert complaint in raised.value.message


def test_a_missing_names_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such file"):
        names.load(tmp_path / "nobody.txt")
    with pytest.raises(DatasetError, match="cannot be read"):
        names.load(tmp_path)


def test_a_character_that_a_given_vocabulary_lacks_is_named(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("ann\nbob\nzoë\n")
    with pytest.raises(DatasetError, match="line 3 has 'ë'"):
        names.load(file, (".", *"abcdefghijklmnopqrstuvwxyz"))
