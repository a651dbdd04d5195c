"""Which names Python source has."""

from codegen.torch.reading import names_in, names_read, renamed


def test_a_name_is_no_string_no_attribute_and_no_keyword() -> None:
    lines = ["if x.dim() < n:", '    raise ValueError(f"k is {m}")', "y = torch.sum(x, dim=0)"]
    assert names_in(lines) == {"x", "n", "m", "y", "ValueError", "torch"}
    assert names_read('torch.einsum("n,k->nk", a, b)') == {"torch", "a", "b"}


def test_what_is_asked_for_an_attribute_alone_is_not_read() -> None:
    code = "x * torch.zeros(3, dtype=y.dtype, device=x.device)"
    assert names_read(code, but_for=("dtype", "device")) == {"x", "torch"}


def test_names_change_places() -> None:
    assert renamed("a < b and b != 'a'", {"a": "b", "b": "a"}) == "b < a and a != 'a'"
    assert renamed("-inf < x", {"inf": "math.inf"}) == "-math.inf < x"
