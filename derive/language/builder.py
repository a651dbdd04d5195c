"""How a definition is written: one line an axis, an input, an option or a let."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sympy import Expr, S, SympifyError, sympify

from derive.language.checks import (
    Scope,
    check_facts,
    check_identifier,
    check_letters,
    check_moved,
    check_sizes,
)
from derive.language.composition import (
    Letters,
    check_call,
    match_axes,
    moved_by,
    option_values,
    translate,
)
from derive.language.definition import (
    Call,
    Definition,
    DefinitionError,
    Dim,
    Let,
    Option,
    Tensor,
    check_once,
    check_wrt,
)
from derive.language.expressions import (
    ArgMax,
    Axis,
    Index,
    Mean,
    Parameter,
    Sum,
    free_indices,
)
from derive.language.facts import is_nonnegative, is_positive
from derive.language.functions import as_where
from derive.language.interface import Cases, Update, When
from derive.language.masked import as_masked, is_masked, without_masks
from derive.language.maxima import parted
from derive.language.signature import Calling
from derive.language.substitute import substitute
from derive.language.windows import moved_in, with_guards


def define(name: str, summary: str) -> Builder:
    """Start the definition of an operation; `summary` is one line that says what it computes."""
    return Builder(name, summary)


REDUCTION = "size_average=None, reduce=None, reduction='mean'"
"""The arguments that choose one of `reductions`, the two of PyTorch's older callers with them."""


Case = tuple[Sequence[Index], Any]
"""What a let is for one value of a choice: its letters, and the expression."""


def reductions(value: Any, *over: Index) -> dict[Any, Case]:
    """The usual cases of `reduction`: the mean of a loss, its sum, or each element of it."""
    return {
        "mean": ([], Mean(value, *over)),
        "sum": ([], Sum(value, *over)),
        "none": ([*over], value),
    }


def _file_outside() -> str:
    """The file of the innermost code that is the top of a module, or not of this package; a
    function of the library's files may begin what another file defines."""
    frame = sys._getframe()  # inspect.stack reads every file
    while frame is not None:
        code, module = frame.f_code, str(frame.f_globals.get("__name__", ""))
        if code.co_name == "<module>" or module.split(".")[0] != _PACKAGE:
            return code.co_filename
        frame = frame.f_back
    return ""


_PACKAGE = __name__.split(".")[0]


class Builder:
    """Collects axes, inputs, options and lets, checking each as it comes."""

    def __init__(self, name: str, summary: str) -> None:
        check_identifier(name, "operation")
        if not summary.strip():
            raise DefinitionError(
                f"operation {name!r} has no summary; say in one line what it computes"
            )
        if len(summary.strip().splitlines()) > 1:
            raise DefinitionError(
                f"operation {name!r}: the summary says in one line what it computes, got "
                f"{summary!r}"
            )
        self.name = name
        self.summary = summary.strip()
        self.source = _file_outside()
        self._axes: dict[str, Index] = {}
        self._inputs: dict[str, Tensor] = {}
        self._options: dict[str, Option] = {}
        self._lets: dict[str, Let] = {}
        self._masked: dict[str, Let] = {}
        self._calls: list[Call] = []
        self._calling = Calling(name)
        self.moved: set[tuple[str, int, str]] = set()
        """Where letters are read along axes of others: by the lets so far, and, as a text is read
        as a whole, by those to come; see `derive.language.windows.moved_in`."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs so far, in order."""
        return tuple(self._inputs.values())

    @property
    def lets(self) -> tuple[Let, ...]:
        """The lets so far, in order."""
        return tuple(self._lets.values())

    @property
    def axes_by_name(self) -> dict[str, Index]:
        """The letters of the axes so far."""
        return dict(self._axes)

    @property
    def _tensors(self) -> dict[str, Tensor]:
        return self._inputs | {name: let.tensor for name, let in self._lets.items()}

    def called(self, signature: str, *, autocast: str | None = None) -> None:
        """Say how the public function is called, such as `"input: x, dim=-1"`, on tensors of any
        rank; see `derive.language.interface`.

        An argument is the input, the option or the choice among `cases` of its name. Where the
        definition has nothing of that name, some mean what they mean to PyTorch:

        - `dim`, `normalized_shape` and `num_groups` say which dimensions an axis is, whose role is
          `dim` or `along`, `features`, `group`;
        - `keepdim` keeps the dimensions that are reduced, `inplace` overwrites the first tensor
          with the result, and `dtype` is what that tensor is converted to first;
        - `size_average` and `reduce`, both of them, are the older form of the choice `reduction`,
          and `unbiased`, after `dim`, that of the option `correction`, which is 1 where it is None;
        - `_stacklevel` is ignored.

        Any other argument does nothing, but a `demand` may refuse values of it.

        `autocast` says what its result is under autocast, where that decides: `"float32"`, the
        same `"float32 on gpu"` alone, or `"lower"` for the lower precision.
        """
        self._calling.sign(signature, autocast)

    # --- what a definition is made of ---

    def axes(self, names: str, roles: str = "") -> Any:
        """New axes, each with its letter: `n, c = op.axes("n c")`; one name gives one letter.

        `roles` says of each which dimensions of a caller's tensors it is: `"rest channel"`.
        """
        letters = []
        for name in names.split():
            check_identifier(name, "axis")
            if name != name.lower():
                raise DefinitionError(
                    f"axis {name!r} must be lower case: {name.upper()!r} is its size"
                )
            self._check_new(name, "axis")
            self._axes[name] = Index(name, Axis(name))
            letters.append(self._axes[name])
        if len(roles.split()) > len(letters):
            raise DefinitionError(f"axes {names!r}: there are more roles, {roles!r}, than axes")
        self._calling.play(letters, roles.split())
        return letters[0] if len(letters) == 1 else tuple(letters)

    def input(
        self, name: str, *dims: Dim, absent: int | None = None, given: str = "", **facts: Any
    ) -> Tensor:
        """A real tensor; facts: positive, nonnegative, nonzero, sums_to_one, symmetric.

        A tensor that the caller may leave out is, where it is `absent`, that number everywhere;
        `given` says how he may give it, as a key of `derive.language.interface.GIVEN`.
        """
        self._calling.note_given(name, "input", given)
        if absent is not None:
            self._calling.absent[name] = sympify(absent)
        return self._add_input(Tensor(name, dims, **facts))

    def integers(self, name: str, *dims: Dim) -> Tensor:
        """A tensor of indices, such as class targets."""
        return self._add_input(Tensor(name, dims, integer=True))

    def option(
        self, name: str, default: int | float | None = None, *, given: str = "", **facts: bool
    ) -> Parameter:
        """A scalar parameter; facts: integer, positive, nonnegative. Returns its symbol.

        With `given="epsilon"` the caller may leave it out, and then it is the machine epsilon.

        Raises:
            DefinitionError: the name is taken, or the default is no number that the facts hold of.
        """
        self._check_name(name, "option")
        self._calling.note_given(name, "option", given)
        option = Option(name, default, **facts)
        if default is not None:
            real = isinstance(default, int | float) and not isinstance(default, bool)
            if not real or option.refuses(sympify(default)):
                raise DefinitionError(
                    f"option {name!r}: its default must be {option.wanted}, got {default!r}"
                )
        self._options[name] = option
        return option.symbol

    def let(self, name: str, indices: Sequence[Dim] | Index, value: Any) -> Tensor:
        """Name an intermediate: `op.let("mean", [c], Mean(x[n, c], n))`.

        Raises:
            DefinitionError: names the let, the axis and the mistake.
        """
        dims = (indices,) if isinstance(indices, Index) else tuple(indices)
        self._check_name(name, "let")
        try:
            value = sympify(value, strict=True)
        except SympifyError:
            raise DefinitionError(f"let {name!r}: {value!r} is not an expression") from None
        if not isinstance(value, Expr):
            raise DefinitionError(f"let {name!r} must be a real expression, got {value}")
        tensor = Tensor(name, dims)
        check_letters(tensor, f"let {name!r}", self._axes)
        if name in {i.name for i in value.atoms(Index)} | {i.name for i in tensor.indices}:
            raise DefinitionError(f"let {name!r} has the name of a letter in it; use another")
        value = without_masks(substitute(as_where(value), self._masked.values()))
        value = with_guards(value)
        self._check_value(name, tensor, value.xreplace({S.NegativeInfinity: S.Zero}))
        if value.has(S.NegativeInfinity):
            return self._add_masked_let(tensor, as_masked(value))
        if isinstance(value, ArgMax):
            return self._add_integer_let(name, dims, value)
        taken = {*self._inputs, *self._options, *self._lets}
        value, parts = parted(tensor, value, self._lets.values(), self._axes, taken)
        for part in parts:
            self._add(part.name, part.tensor.dims, part.value, part.tensor.integer)
        if is_positive(value):
            tensor = replace(tensor, positive=True)
        elif is_nonnegative(value):
            tensor = replace(tensor, nonnegative=True)
        self._lets[name] = Let(tensor, value)
        return tensor

    def cases(
        self,
        name: str,
        choice: str | tuple[str, ...],
        values: Mapping[Any, Case],
        unknown: str = "ValueError",
    ) -> Tensor:
        """A let whose value an argument of the function decides, the usual value first.

        `op.cases("y", "approximate", {"none": ([n], ...), "tanh": ([n], ...)})`; the key
        `OTHERWISE` is for every value that has no case of its own; without it the function
        raises `unknown` for them. Of several choices the keys are tuples of their values.

        Raises:
            DefinitionError: no argument has that name, or a case is no let.
        """
        choices = (choice,) if isinstance(choice, str) else choice
        for named in choices:
            if named not in self._calling.argument_names:
                raise DefinitionError(f"let {name!r}: the signature has no argument {named!r}")
        if not values:
            raise DefinitionError(f"let {name!r}: there is no case")
        lets = []
        for value, (indices, expr) in values.items():
            key = (value,) if len(choices) == 1 else value
            if not isinstance(key, tuple) or len(key) != len(choices):
                raise DefinitionError(
                    f"let {name!r}: a case is for a value of each of {', '.join(choices)}, "
                    f"got {value!r}"
                )
            self.let(name, indices, expr)
            if name not in self._lets:
                raise DefinitionError(
                    f"let {name!r}: a case must be a number everywhere, got {expr}; "
                    "write its -inf in the exponential that reads it"
                )
            lets.append((key, self._lets.pop(name)))
        cases = Cases.of(choices, lets, unknown)
        self._calling.cases[name] = cases
        _, self._lets[name] = cases.lets[0]
        return self._lets[name].tensor

    def update(self, buffer: Tensor, value: Any, **chosen: Any) -> None:
        """What an input becomes that is a buffer, such as a running mean; it is not differentiated.

        `chosen` says for which values of choices: `training=True`.
        """
        self.becomes(buffer, self.let(f"next_{buffer.name}", buffer.indices, value), **chosen)

    def becomes(self, buffer: Tensor, let: Tensor, **chosen: Any) -> None:
        """What an input becomes that is a buffer: a let that is there already; see `update`.

        Raises:
            DefinitionError: they are no input and no let over the same axes.
        """
        where = f"update of {buffer.name!r} in {self.name!r}"
        if buffer.name not in self._inputs or buffer.integer:
            raise DefinitionError(f"{where}: only an input of real numbers is a buffer")
        if let.name not in self._lets or let.integer or let.axes != buffer.axes:
            raise DefinitionError(f"{where}: {let.name!r} is no let of real numbers over its axes")
        before = [update.when.input for update in self._calling.updates]
        check_once(f"update in {self.name!r}", [*before, buffer.name])
        self._calling.updates.append(Update(When(buffer.name, tuple(chosen.items())), let.name))

    def constant(self, tensor: Tensor, **chosen: Any) -> None:
        """An input that has no gradient for some values of choices: `target=True`, where the
        target is one of integers. The function refuses one that requires a gradient then.

        Raises:
            DefinitionError: it is no input of real numbers, there is no signature yet, or nothing
                is chosen: then it is left out of `wrt`.
        """
        where = f"constant {tensor.name!r} in {self.name!r}"
        if tensor.name not in self._inputs or tensor.integer:
            raise DefinitionError(f"{where}: only an input of real numbers has a gradient")
        if self._calling.arguments is None or not chosen:
            raise DefinitionError(
                f"{where}: it is so for values of an argument of op.called, which comes first; "
                "op.build(..., wrt=[...]) says whose gradients there are at all"
            )
        check_once(where, [*(when.input for when in self._calling.constants), tensor.name])
        self._calling.constants.append(When(tensor.name, tuple(chosen.items())))

    def demand(self, condition: str, raises: str = "ValueError") -> None:
        """A condition such as `beta >= 0`, without which the function raises.

        It may read options, arguments, inputs (of which it must hold everywhere), the sizes of
        axes and `inf`.

        Raises:
            DefinitionError: it is no expression, or reads what is none of these.
        """
        sizes = (name.upper() for name in self._axes)
        self._calling.demand(condition, raises, [*self._options, *self._inputs], sizes)

    def call(
        self,
        callee: Definition,
        inputs: Mapping[str, Tensor],
        options: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> Tensor:
        """Use another definition: its lets are added under their own names, or those in `names`.

        `inputs` gives a tensor of this definition for each input of the callee, `options` values
        of its options; of those left out, one that this definition has too is passed on, and any
        other has its default. Returns the callee's output.

        Raises:
            DefinitionError: an input is missing, unknown or of another rank; a name is taken; an
                option without a default is missing, or is not known to be as the callee has it.
        """
        where = f"call of {callee.name!r} in {self.name!r}"
        names, options = dict(names or {}), dict(options or {})
        check_call(where, callee, inputs, options, names)
        taken = {*self._axes, *self._tensors, *self._options, *(n.upper() for n in self._axes)}
        axes = match_axes(where, callee, inputs, taken)
        self._axes |= {a.name: Index(a.name, a) for a in axes.values() if a.name not in self._axes}
        own = {name: option.symbol for name, option in self._options.items()}
        values = option_values(where, callee, {**own, **options})
        tensors = dict(inputs)
        letters = Letters.of(axes, self._axes)
        self.moved |= moved_by(callee, {n: t.name for n, t in inputs.items()} | names, letters)
        for let in callee.lets:
            name = names.get(let.name, let.name)
            dims = letters.dims(let.tensor.dims)
            value = translate(let.value, tensors, values, letters)
            tensors[let.name] = self._add(name, dims, value, let.tensor.integer)
        if not {tensor.name for tensor in inputs.values()} & self._masked.keys():  # else spelt out
            self._calls.append(
                Call(callee, tuple(tensors.items()), tuple(values.items()), tuple(axes.items()))
            )
        return tensors[callee.outputs[0]]

    def build(
        self,
        *outputs: Tensor,
        wrt: Iterable[Tensor] | None = None,
        chunked: bool = False,
        without: Iterable[Tensor] = (),
    ) -> Definition:
        """The finished definition. `wrt`: whose gradients are wanted; by default all real inputs'.

        Of several variants it is the usual one: every choice at its first value, and every tensor
        given, but for those in `without`.

        Raises:
            DefinitionError: there is no let, an output is no let, or `wrt` has no gradient.
        """
        self._check_outputs(outputs)
        real = (t for t in self._inputs.values() if not t.integer)
        wanted = tuple(t.name for t in (real if wrt is None else wrt))
        if wrt is not None and not wanted:
            raise DefinitionError(
                f"gradients of {self.name!r}: wrt is empty, and at least one is wanted; "
                "leave it out for those of all real inputs"
            )
        check_wrt(self.name, wanted, self._tensors)
        definition = Definition(
            name=self.name,
            summary=self.summary,
            inputs=tuple(self._inputs.values()),
            options=tuple(self._options.values()),
            lets=tuple(self._lets.values()),
            outputs=tuple(t.name for t in outputs),
            wrt=wanted,
            calls=tuple(self._calls),
            chunked=chunked,
            source=self.source,
        )
        check_sizes(definition)
        check_moved(definition)
        calling = self._calling
        if calling.arguments is None:
            return replace(
                definition, updates=tuple((u.when.input, u.let) for u in calling.updates)
            )
        return calling.interface(definition, [t.name for t in without])

    # --- checks ---

    def _check_outputs(self, outputs: Sequence[Tensor]) -> None:
        for output in outputs:
            if output.name in self._masked:
                raise DefinitionError(
                    f"output {output.name!r} of {self.name!r} is -inf in places: no gradient"
                )
        if not self._lets or not outputs:
            raise DefinitionError(f"operation {self.name!r} is empty: it needs a let and an output")
        for output in outputs:
            if output.name not in self._lets:
                raise DefinitionError(
                    f"output {output.name!r} of {self.name!r} is not one of its lets"
                )
            if output.integer:
                raise DefinitionError(
                    f"output {output.name!r} of {self.name!r} holds integers: no gradient"
                )
        check_once(f"output of {self.name!r}", [t.name for t in outputs])

    def _add_input(self, tensor: Tensor) -> Tensor:
        self._check_name(tensor.name, "input")
        check_letters(tensor, f"input {tensor.name!r}", self._axes)
        check_facts(tensor)
        self._inputs[tensor.name] = tensor
        return tensor

    def _add(self, name: str, dims: tuple[Dim, ...], value: Expr, integer: bool) -> Tensor:
        add = self._add_integer_let if integer else self.let
        return add(name, dims, value)

    def _add_integer_let(self, name: str, dims: tuple[Dim, ...], value: Expr) -> Tensor:
        self._check_name(name, "let")
        tensor = Tensor(name, dims, integer=True)
        check_letters(tensor, f"let {name!r}", self._axes)
        self._lets[name] = Let(tensor, value)
        return tensor

    def _add_masked_let(self, tensor: Tensor, value: Expr) -> Tensor:
        """A let that is minus infinity in places is written out where it is exponentiated."""
        if not is_masked(value) and value.has(ArgMax):
            raise DefinitionError(
                f"let {tensor.name!r}: -inf stands for what an exponential leaves out; what a "
                f"maximum leaves out is a number below all others, as in max_k(where(c, x, -1e9))"
            )
        if not is_masked(value):
            raise DefinitionError(
                f"let {tensor.name!r}: -inf stands for what an exponential leaves out, as in "
                "exp(where(c, x, -inf)), and for nothing else; no maximum need be subtracted, the "
                "emitted code is safe without it"
            )
        self._masked[tensor.name] = Let(tensor, value)
        return tensor

    def _check_name(self, name: str, kind: str) -> None:
        check_identifier(name, kind)
        self._check_new(name, kind)

    def _check_new(self, name: str, kind: str) -> None:
        homes = {
            "an axis": self._axes,
            "an input": self._inputs,
            "an option": self._options,
            "a let": {**self._lets, **self._masked},
            "the size of an axis": {axis.upper(): None for axis in self._axes},
        }
        for home, names in homes.items():
            if name in names or (kind == "axis" and name.upper() in names):
                taken = name if name in names else name.upper()
                raise DefinitionError(
                    f"{kind} {name!r} in {self.name!r}: the name {taken!r} is already {home}"
                )

    def _check_value(self, name: str, tensor: Tensor, value: Expr) -> None:
        given = {axis for tensor in self._inputs.values() for axis in tensor.axes}
        largest = {let.name: let.value for let in self._lets.values() if let.tensor.integer}
        self.moved |= set(moved_in(value))
        scope = Scope(name, self._tensors, self._options, self._axes, given, largest, self.moved)
        scope.check(value)
        missing = free_indices(value) - set(tensor.indices)
        if missing:
            index = min(missing, key=lambda i: i.name)
            raise DefinitionError(
                f"let {name!r}: index {index.name!r} of axis {index.axis.name!r} is used "
                f"but is neither on the left side nor summed over"
            )
