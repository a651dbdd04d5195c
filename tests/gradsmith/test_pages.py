"""The pages: what stands on them, and which line of code belongs to which term."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import Result

from codegen import pipeline
from derive import library
from derive.derivation import derive
from derive.language.definition import Let
from derive.language.expressions import names_in
from derive.printing.marks import Marked, unmarked
from gradsmith.emitted import emitted
from gradsmith.pages import html, site
from gradsmith.pages.code import Beside, Statement, side_by_side
from gradsmith.pages.page import draft, page, written

pytestmark = pytest.mark.slow

Command = Callable[..., Result]

VOID = {"meta", "link", "input", "br", "mspace", "rect"}
"""Elements that are written without an end; `mspace` and `rect` end themselves."""


class Addresses(HTMLParser):
    """Every address that a page names, and whether its elements are closed as they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.opened: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.found += [value for name, value in attrs if name in ("href", "src") and value]
        self.ids += [named["id"] or ""] if "id" in named else []
        if tag not in VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("p", "li") or self.opened[-1] == tag:
            assert self.opened.pop() == tag


@pytest.mark.parametrize("name", library.names())
def test_every_let_has_its_lines_and_every_part_the_line_that_reads_it(name: str) -> None:
    source = Path(emitted(library.load(name)).__file__ or "").read_text()
    for definition in library.load(name).variants:
        one, derivation = written(definition, source), derive(definition)
        check_beside(one.forward, derivation.forward)
        ahead = [s for row in one.forward for s in row.statements]
        check_beside(one.backward, derivation.backward.lets, derivation.forward, ahead)


def check_beside(
    rows: Sequence[Beside],
    lets: Sequence[Let],
    before: Sequence[Let] = (),
    ahead: Sequence[Statement] = (),
) -> None:
    shown = {row.let.name: row for row in rows if row.let}
    statements = [s for row in rows for s in row.statements]
    named = {s.makes for s in statements}.union(*(s.reads for s in statements))
    assert set(shown) == {let.name for let in lets}
    for let in lets:
        row = shown[let.name]
        marked = row.let
        assert marked is not None and unmarked(marked.value) == let.value
        by_mark = {s.mark: s for s in (*ahead, *row.statements)}
        assert all(s.makes == let.name for s in row.statements)
        if len(row.statements) < 2:
            continue
        for part in marked.value.atoms(Marked):
            names = names_in(part) - {part.mark}
            unnamed = {let.name: let for let in (*before, *lets) if let.name not in named}
            while hidden := sorted(names & set(unnamed)):
                inner = unnamed.pop(hidden[0])  # it goes by what it is made of, or what it is
                names |= names_in(inner.value)
                names |= {o.name for o in before if o.value == inner.tensor.element}
                names -= {inner.name}
            assert names & by_mark[part.mark].reads or not names


def test_a_factor_that_is_worked_out_ahead_belongs_to_the_line_that_does() -> None:
    page = draft(library.load("gelu"))
    (ahead,) = (s for row in page.forward for s in row.statements if s.makes == "dy_dx")
    gradient = next(row for row in page.backward if row.let)
    assert gradient.let is not None
    marks = {part.mark: unmarked(part) for part in gradient.let.value.atoms(Marked)}
    assert marks.keys() == {ahead.mark, gradient.statements[0].mark}
    assert str(marks[gradient.statements[0].mark]) == "grad_y[n]"


def test_the_terms_of_batch_norm_stand_at_the_lines_that_bring_them_in() -> None:
    definition = library.load("batch_norm")
    source = pipeline.source(definition)
    rows = side_by_side(source, "backward", derive(definition).backward.lets)
    (row,) = [row for row in rows if row.let and row.let.name == "grad_x"]
    assert row.let is not None
    code = {s.mark: re.sub("<.*?>", "", s.html) for s in row.statements}
    lines = {str(part.part): code[part.mark] for part in row.let.value.atoms(Marked)}
    assert lines["weight[c]"] == lines["rstd[c]"] == "grad_x = grad_x * (weight * rstd)"
    assert lines["grad_y[n, c]"].startswith("grad_x = torch.sub(grad_y, grad_bias")
    assert lines["grad_bias[c]/N"].startswith("grad_x = torch.sub(grad_y, grad_bias")
    scaled = lines["grad_weight[c]*x_hat[n, c]/(N - correction)"]
    assert scaled.startswith("grad_x = grad_x.addcmul(grad_weight, x_hat")


def test_a_page_holds_everything_and_names_no_other_place() -> None:
    content = html.operation(page(library.load("batch_norm")), index="index.html")
    reader = Addresses()
    reader.feed(content)
    assert not reader.opened
    assert len(set(reader.ids)) == len(reader.ids)
    away = [a for a in reader.found if not a.startswith(("#", "data:"))]
    assert away == ["index.html"]
    assert "url(http" not in content and "@import" not in content
    for said in ("Chain rule", "reduction identity", "verified", "Against autograd", "bytes moved"):
        assert said in content
    words = re.sub(r"<[^>]+>", "", content)
    assert "grad_x = grad_x * (weight * rstd)" in words


def test_the_simplified_form_of_batch_norm_is_drawn_as_the_cheapest() -> None:
    found = page(library.load("batch_norm")).costs
    assert found is not None
    autograd, chunked, simplified = found.forms
    for cost in ("kernels", "moved", "kept"):
        assert getattr(simplified, cost) < min(getattr(chunked, cost), getattr(autograd, cost))


def test_the_gradient_of_an_output_has_a_page_too() -> None:
    one = page(library.load("tanh").with_wrt("h"))
    assert one.costs is not None and [f.form for f in one.costs.forms] == ["chunked", "simplified"]
    assert "what the backward pass is given" in html.operation(one)


def test_without_steps_the_page_goes_from_the_chain_rule_to_the_gradient() -> None:
    one = draft(library.load("softmax"))
    assert 'id="simplification"' in html.operation(one)
    assert 'id="simplification"' not in html.operation(one, steps=False)


def test_a_fragment_is_no_document() -> None:
    content = html.operation(draft(library.load("softmax")), fragment=True)
    assert "<html" not in content and "<article" in content


def test_what_a_person_wrote_is_never_markup(gradsmith: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.grad"
    file.write_text("mine: <script>alert('&')</script>\ny[n] = x[n]**2\n")
    result = gradsmith("show", "mine", "--definitions", file, "--format", "html")
    assert result.exit_code == 0
    assert "<script>alert" not in result.stdout and "&lt;script&gt;alert" in result.stdout


def test_docs_writes_an_index_and_a_page_for_every_definition(
    gradsmith: Command, tmp_path: Path
) -> None:
    file, out = tmp_path / "two.grad", tmp_path / "site"
    file.write_text("one: First.\ny[n] = x[n]**2\n\ntwo: Second.\ny[n] = tanh(x[n])\n")
    result = gradsmith("docs", "--definitions", file, "--out", out)
    assert (result.exit_code, result.stdout) == (0, f"{out / 'index.html'}\n")
    assert sorted(f.name for f in out.iterdir()) == ["index.html", "one.html", "two.html"]
    index = Addresses()
    index.feed((out / "index.html").read_text())
    assert [a for a in index.found if a.endswith(".html")] == ["one.html", "two.html"]


def test_a_variant_has_a_page_of_its_own_beside_the_usual_one(
    gradsmith: Command, tmp_path: Path
) -> None:
    list(site.write([library.load("mse_loss")], tmp_path))
    usual, variant = (tmp_path / name for name in ("mse_loss.html", "mse_loss.sum_weight.html"))
    assert "mse_loss[sum_weight]" in usual.read_text()
    reader = Addresses()
    reader.feed(variant.read_text())
    pages = {a for a in reader.found if a.endswith(".html")}
    assert pages == {file.name for file in tmp_path.iterdir()} and len(pages) == 7
    words = re.sub(r"<[^>]+>|\s+", " ", variant.read_text())
    assert "Here reduction=&#39;sum&#39;, with weight; one of 6 definitions" in words
    assert "def forward_sum_weight" in words
    shown = gradsmith("show", "mse_loss[sum_weight]", "--format", "html").stdout
    assert "<h1><code>mse_loss[sum_weight]</code></h1>" in shown


def test_an_output_that_nothing_moves_costs_autograd_nothing() -> None:
    one = page(library.load("vector_norm[ord_0]"))
    assert one.costs is not None and one.costs.forms[0].kernels == 0
    assert all(found.exact for found in one.comparisons)


def test_what_is_zero_but_for_rounding_is_no_mistake() -> None:
    one = page(library.load("makemore_mlp"))
    assert all(found.approximate for found in one.comparisons)


def test_what_a_buffer_becomes_is_told() -> None:
    content = html.operation(draft(library.load("batch_norm[running_mean]")))
    assert "running_mean = next_running_mean" in content


def test_a_page_says_how_far_each_index_runs() -> None:
    assert "<code>k &lt; K</code>" in html.operation(page(library.load("softmax")))


def test_docs_says_where_it_cannot_write(gradsmith: Command, tmp_path: Path) -> None:
    (tmp_path / "site").write_text("a file")
    result = gradsmith("docs", "--out", tmp_path / "site" / "docs")
    assert result.exit_code == 2 and "cannot be written" in result.stderr
