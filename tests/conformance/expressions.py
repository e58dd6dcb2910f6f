"""A small calculator for the array expressions that golden files write as text: ``b=a+noise*g.sn(N,D)``.

Only what is listed here can be evaluated; nothing is ever handed to `eval`. A recipe mixes statements with
remarks in English, so a piece of text that is not a statement is kept as a remark, unless it would draw random
numbers: a draw that was not understood would silently shift every later one.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class ExpressionError(ValueError):
    """The text is not an expression that this calculator knows."""


class UnknownName(ExpressionError):
    """The expression is well-formed but speaks of something that was never defined."""


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.MatMult: operator.matmul,
    ast.Pow: operator.pow,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
}


def unit(x: np.ndarray) -> np.ndarray:
    """Rows divided by their L2 norm."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "argmax": np.argmax,
    "arange": np.arange,
    "concat": np.concatenate,
    "int": int,
    "repeat": np.repeat,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "unit": unit,
    "where": np.where,
}


def draws(generator: np.random.Generator) -> dict[str, Callable[..., Any]]:
    """The draws a golden file may ask for, bound to one generator."""
    return {
        "sn": lambda *shape: generator.standard_normal(shape[0] if isinstance(shape[0], tuple) else shape),
        "standard_normal": lambda *shape: generator.standard_normal(
            shape[0] if shape and isinstance(shape[0], tuple) else shape
        ),
        "random": generator.random,
        "integers": generator.integers,
        "permutation": generator.permutation,
        "beta": generator.beta,
    }


@dataclass
class Calculator:
    """Evaluates expressions over `names`, with `functions` and the methods of ``g`` in `methods`."""

    names: dict[str, Any]
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=lambda: FUNCTIONS)
    methods: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def value(self, text: str) -> Any:
        """The value of one expression.

        Raises:
            ExpressionError: not an expression, or one with a construct that is not listed here.
            UnknownName: a name without a value.
        """
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except SyntaxError as error:
            raise ExpressionError(f"not an expression: {text!r}") from error
        return self._value(tree.body)

    def _value(self, node: ast.expr) -> Any:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise ExpressionError(f"{type(node).__name__} is not allowed in an expression")
        return method(node)

    def _constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, (int, float)):
            raise ExpressionError(f"constant {node.value!r} is not a number")
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id not in self.names:
            raise UnknownName(f"unknown name {node.id!r}")
        return self.names[node.id]

    def _tuple(self, node: ast.Tuple) -> Any:
        return tuple(self._value(item) for item in node.elts)

    def _list(self, node: ast.List) -> Any:
        return [self._value(item) for item in node.elts]

    def _binop(self, node: ast.BinOp) -> Any:
        if type(node.op) not in _BINARY:
            raise ExpressionError(f"operator {type(node.op).__name__} is not allowed")
        return _BINARY[type(node.op)](self._value(node.left), self._value(node.right))

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        if type(node.op) not in _UNARY:
            raise ExpressionError(f"operator {type(node.op).__name__} is not allowed")
        return _UNARY[type(node.op)](self._value(node.operand))

    def _compare(self, node: ast.Compare) -> Any:
        if len(node.ops) != 1 or type(node.ops[0]) not in _COMPARE:
            raise ExpressionError("only a single comparison by size is allowed")
        return _COMPARE[type(node.ops[0])](self._value(node.left), self._value(node.comparators[0]))

    def _subscript(self, node: ast.Subscript) -> Any:
        return self._value(node.value)[self._index(node.slice)]

    def _index(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Tuple):
            return tuple(self._index(item) for item in node.elts)
        if isinstance(node, ast.Slice):
            return slice(*(None if part is None else self._value(part) for part in (node.lower, node.upper)))
        return self._value(node)

    def _listcomp(self, node: ast.ListComp) -> Any:
        loop = node.generators[0]
        if len(node.generators) != 1 or loop.ifs or not isinstance(loop.iter, ast.Constant):
            raise ExpressionError("only [expression for _ in COUNT] is allowed")
        return [self._value(node.elt) for _ in range(self._constant(loop.iter))]

    def _call(self, node: ast.Call) -> Any:
        function = self._function(node.func)
        keywords = {k.arg: self._value(k.value) for k in node.keywords if k.arg == "axis"}
        if len(keywords) != len(node.keywords):
            raise ExpressionError("the only keyword argument allowed is axis")
        return function(*(self._value(argument) for argument in node.args), **keywords)

    def _function(self, node: ast.expr) -> Callable[..., Any]:
        if isinstance(node, ast.Name) and node.id in self.functions:
            return self.functions[node.id]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "g":
            if node.attr in self.methods:
                return self.methods[node.attr]
            raise ExpressionError(f"g.{node.attr} is not a draw that is known here")
        raise UnknownName(f"unknown function {ast.unparse(node)!r}")

    def assign(self, target: str, value: Any) -> None:
        """Bind ``name`` or write into ``name[index]``."""
        node = ast.parse(target.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            self.names[node.id] = value
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            self._name(node.value)[self._index(node.slice)] = value
        else:
            raise ExpressionError(f"cannot assign to {target!r}")


_TARGET = r"[A-Za-z_]\w*(?:\[[^\]=]*\])?"
_STATEMENT = re.compile(rf"({_TARGET})\s*=(?!=)\s*(.+)", re.DOTALL)
_REMARK = re.compile(r"(?<=[\w)\]])\s+\((?:[^()]|\([^()]*\))*\)")
_DEFAULT_SHAPE = re.compile(r"\(all (\([^()]*\))\)")
_TIMES = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)(?=[A-DF-Za-df-z]|[Ee](?![-+\d]))")


def products(text: str) -> str:
    """Write the products out that mathematics leaves implicit: ``2N`` is ``2*N``."""
    return _TIMES.sub(r"\1*", text)


def without_remarks(text: str) -> str:
    """Drop a remark in parentheses after an operand (``A+0.5*E (no grad)``)."""
    return _REMARK.sub("", text)


def pieces(text: str) -> list[str]:
    """Cut a recipe into statements and remarks: at ``;``, and at ``,`` or a blank where a new ``name=`` begins."""
    default_shape = _DEFAULT_SHAPE.search(text)
    text = re.sub(r"(^|;\s*)then (?:\w+: )?", r"\1", products(without_remarks(text)))
    if default_shape:
        text = re.sub(r"\bg\.sn\b(?!\()", f"g.sn{default_shape[1]}", text)
    text = re.sub(r"\bfor (\d+) views in order\b", r"for _ in \1", text)
    found, depth, start = [], 0, 0
    for k, char in enumerate(text):
        depth += (char in "([") - (char in ")]")
        begins = re.match(rf"\s*{_TARGET}=", text[k + 1 :]) is not None
        if depth == 0 and (char == ";" or (char in ", " and begins)):
            found.append(text[start:k])
            start = k + 1
    found.append(text[start:])
    return [piece.strip() for piece in found if piece.strip(" ,")]


def targets(text: str) -> list[str]:
    """Names that the statements of a recipe bind or write into."""
    statements = (_STATEMENT.fullmatch(piece) for piece in pieces(text))
    return [statement[1].partition("[")[0] for statement in statements if statement]


@dataclass(frozen=True)
class Script:
    """What running a recipe gave: every name it bound, in order of first binding, and its remarks."""

    names: dict[str, Any]
    remarks: tuple[str, ...]


def run(text: str, seed: int | None, names: Mapping[str, Any]) -> Script:
    """Run a recipe with a fresh ``g = numpy.random.default_rng(seed)``.

    Args:
        text: statements and remarks.
        seed: seed of ``g``; None where the recipe draws nothing.
        names: constants that the recipe may use (sizes, hyper-parameters).

    Raises:
        ExpressionError: a piece that draws from ``g`` could not be understood.
    """
    generator = None if seed is None else np.random.default_rng(seed)
    calculator = Calculator(dict(names), methods=draws(generator) if generator is not None else {})
    todo, bound, remarks = _constants_first(pieces(text)), [], []
    for piece in todo:
        if piece == "g=default_rng(seed)":
            continue
        statement = _STATEMENT.fullmatch(piece)
        try:
            if statement is None:
                raise UnknownName("not a statement")
            calculator.assign(statement[1], calculator.value(statement[2]))
        except (ExpressionError, ValueError) as error:
            if "g." in piece:
                raise ExpressionError(f"cannot run {piece!r}: {error}") from error
            remarks.append(piece)
            continue
        name = statement[1].partition("[")[0]
        if name not in bound:
            bound.append(name)
    return Script({name: calculator.names[name] for name in bound}, tuple(remarks))


def _constants_first(found: list[str]) -> list[str]:
    """Sizes may be given after their first use (``x=g.sn(N,C); C=3``)."""
    constant = re.compile(r"[A-Za-z_]\w*\s*=\s*[-+\d.e]+")
    return sorted(found, key=lambda piece: constant.fullmatch(piece) is None)
