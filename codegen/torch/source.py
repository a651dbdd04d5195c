"""The torch target: from derivations to the text of a module that needs torch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from codegen.lowering.lower import lower
from codegen.lowering.second_order import with_second_order
from codegen.templating import as_docstring, digest, formulas, render, source_name
from codegen.torch.module import context
from codegen.torch.public import public_function
from codegen.torch.reading import names_in
from derive.calculus.trace import Derivation
from derive.language.definition import Definition


@dataclass(frozen=True)
class Part:
    """What is emitted for one variant: its functions, and its formulas for the docstring."""

    suffix: str
    check: str
    """What its tensors are checked by: the parameters and the body of a function."""
    text: str
    strict: str
    seeds: tuple[str, ...]
    definition: tuple[str, ...]
    derivation: tuple[str, ...]
    has_value: bool
    """Whether it has a function for the value alone."""
    in_range: bool
    """Whether its check calls the function of that name."""


def part(derivation: Derivation, autograd: bool = True) -> Part:
    """The source of a derivation, before it is laid out with others and formatted; without what
    is for `autograd`, if that is not wanted."""
    module = lower(derivation, ahead=True)
    names = context(with_second_order(module, derivation) if autograd else module)
    names["summary"] = as_docstring(derivation.definition.summary)
    # The module's docstring has those of the usual variant.
    own = derivation if derivation.definition.variant else None
    names["definition"] = own and formulas(own.forward, own, inside=4)
    names["derivation"] = own and formulas(own.backward.lets, own, inside=4)
    names["autograd"] = names["autograd"] if autograd else None
    return Part(
        names["suffix"],
        render("torch/check.py.jinja", **names),
        render("torch/variant.py.jinja", **names),
        render("torch/strict.py.jinja", **names) if autograd else "",
        tuple(names["seeds"]),
        tuple(formulas(derivation.forward, derivation)),
        tuple(formulas(derivation.backward.lets, derivation)),
        names["value"] is not None,
        "_in_range" in names_in(names["checks"]),
    )


def texts(definition: Definition, parts: Sequence[Part], command: str) -> dict[str, str]:
    """The file of an operation: its variants one after another, then its public function."""
    usual = parts[0]
    alone = frozenset(
        variant.variant
        for variant, part in zip(definition.variants, parts, strict=True)
        if part.has_value
    )
    last = usual.strict if definition.interface is None else public(definition, alone=alone)
    in_range = any(part.in_range for part in parts) or (
        definition.interface is not None and "_in_range" in public_function(definition, alone).needs
    )
    first = [render("torch/in_range.py.jinja")] if in_range else []
    return {
        f"{definition.name}.py": render(
            "torch/module.py.jinja",
            parts=[*first, *map("{}\n{}".format, _checks(parts), (p.text for p in parts)), last],
            summary=as_docstring(definition.summary),
            seeds=usual.seeds,
            definition=usual.definition,
            derivation=usual.derivation,
            source=source_name(definition),
            command=command,
            digest=digest(definition, "torch"),
        )
    }


def _checks(parts: Sequence[Part]) -> Iterator[str]:
    """The check of each variant: a function, or the name of one that is there already."""
    written: dict[str, str] = {}
    for part in parts:
        name = f"_check{part.suffix}"
        same = written.setdefault(part.check, name)
        yield f"def {name}{part.check}" if same == name else f"{name} = {same}"


def public(
    definition: Definition, torch_target: str = "", alone: frozenset[str] = frozenset()
) -> str:
    """The public function of a definition that has an interface; where no gradient will be asked
    for, the variants named in `alone` have a function for the value alone."""
    return render(
        "torch/public.py.jinja",
        name=definition.name,
        summary=as_docstring(definition.summary),
        torch_target=torch_target,
        **asdict(public_function(definition, alone)),
    )
