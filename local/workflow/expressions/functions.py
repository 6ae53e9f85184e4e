"""The functions of expressions that depend only on their arguments.

Only the functions that `infra/workflow.json` may need are here. All arguments are evaluated before
the call, also both branches of `if` and all parts of `and`, `or` and `coalesce`. Source: "Reference
guide to workflow expression functions",
learn.microsoft.com/azure/logic-apps/workflow-definition-language-functions-reference.

Measurements of Power Automate, which runs the same language, found that `if`, `and`, `or` and
`coalesce` evaluate only the arguments that they need (github.com/tomdam/flowforger, expr/logical).
Consumption is not documented. The strict rule here is safe for both: an expression that works with
all arguments evaluated also works with some of them. The same measurements found that `equals`
respects case, and that `greater` and `less` ignore case and refuse two different types.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from local.workflow.expressions.errors import EvaluationError
from local.workflow.expressions.values import Json, same, text, type_name

ANY_NUMBER = 1000


@dataclass(frozen=True, slots=True)
class Function:
    """A function with the number of its arguments.

    Attributes:
        apply: computes the value; raises EvaluationError for arguments of a wrong type.
        least: the fewest arguments.
        most: the most arguments.
    """

    apply: Callable[..., Json]
    least: int
    most: int


def _bool(name: str, value: Json) -> bool:
    if not isinstance(value, bool):
        raise EvaluationError(f"{name}() takes a boolean, but got {type_name(value)}")
    return value


def _str(name: str, value: Json) -> str:
    if not isinstance(value, str):
        raise EvaluationError(f"{name}() takes a string, but got {type_name(value)}")
    return value


def _number(name: str, value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EvaluationError(f"{name}() takes a number, but got {type_name(value)}")
    return value


def _order(name: str, holds: Callable[[float], bool]) -> Callable[[Json, Json], bool]:
    def compare(one: Json, other: Json) -> bool:
        if isinstance(one, str) and isinstance(other, str):
            first, second = one.lower(), other.lower()
            return holds((first > second) - (first < second))
        return holds(_number(name, one) - _number(name, other))

    return compare


def _if(condition: Json, then: Json, otherwise: Json) -> Json:
    return then if _bool("if", condition) else otherwise


def _and(*values: Json) -> bool:
    checked = [_bool("and", value) for value in values]
    return all(checked)


def _or(*values: Json) -> bool:
    checked = [_bool("or", value) for value in values]
    return any(checked)


def _coalesce(*values: Json) -> Json:
    return next((value for value in values if value is not None), None)


def _int(value: Json) -> int:
    try:
        if isinstance(value, str):
            return int(value.strip())
        number = _number("int", value)
    except ValueError:
        raise EvaluationError(f"int() cannot convert {value!r}") from None
    if not math.isfinite(number) or number != int(number):
        raise EvaluationError(f"int() cannot convert {value!r}")
    return int(number)


def _bool_of(value: Json) -> bool:
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    if isinstance(value, bool | int | float):
        return bool(value)
    raise EvaluationError(f"bool() cannot convert {value!r}")


def _json(value: Json) -> Json:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise EvaluationError(f"json() takes a valid JSON text: {error}") from None


def _contains(collection: Json, value: Json) -> bool:
    match collection:
        case str():
            return _str("contains", value) in collection
        case list():
            return any(same(item, value) for item in collection)
        case dict():
            return value in collection
        case _:
            raise EvaluationError(f"contains() cannot search {type_name(collection)}")


def _empty(value: Json) -> bool:
    if value is None:
        return True
    return _length(value) == 0


def _length(value: Json) -> int:
    if isinstance(value, str | list | dict):
        return len(value)
    raise EvaluationError(f"length() takes a string or an array, but got {type_name(value)}")


def _decode(value: Json) -> str:
    try:
        return base64.b64decode(_str("base64ToString", value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise EvaluationError("base64ToString() takes a base64 text of UTF-8") from None


def _encode(value: Json) -> str:
    return base64.b64encode(_str("base64", value).encode()).decode()


def _concat(*values: Json) -> str:
    return "".join(text(value) for value in values)


FUNCTIONS: dict[str, Function] = {
    "and": Function(_and, 1, ANY_NUMBER),
    "base64": Function(_encode, 1, 1),
    "base64tostring": Function(_decode, 1, 1),
    "bool": Function(_bool_of, 1, 1),
    "coalesce": Function(_coalesce, 1, ANY_NUMBER),
    "concat": Function(_concat, 1, ANY_NUMBER),
    "contains": Function(_contains, 2, 2),
    "createarray": Function(lambda *values: list(values), 1, ANY_NUMBER),
    "empty": Function(_empty, 1, 1),
    "encodeuricomponent": Function(lambda v: quote(_str("encodeUriComponent", v), "~()*!'"), 1, 1),
    "decodeuricomponent": Function(lambda v: unquote(_str("decodeUriComponent", v)), 1, 1),
    "endswith": Function(lambda v, end: _str("endsWith", v).endswith(_str("endsWith", end)), 2, 2),
    "equals": Function(same, 2, 2),
    "greater": Function(_order("greater", lambda d: d > 0), 2, 2),
    "greaterorequals": Function(_order("greaterOrEquals", lambda d: d >= 0), 2, 2),
    "if": Function(_if, 3, 3),
    "int": Function(_int, 1, 1),
    "json": Function(_json, 1, 1),
    "length": Function(_length, 1, 1),
    "less": Function(_order("less", lambda d: d < 0), 2, 2),
    "lessorequals": Function(_order("lessOrEquals", lambda d: d <= 0), 2, 2),
    "not": Function(lambda value: not _bool("not", value), 1, 1),
    "or": Function(_or, 1, ANY_NUMBER),
    "startswith": Function(
        lambda v, start: _str("startsWith", v).startswith(_str("startsWith", start)), 2, 2
    ),
    "string": Function(text, 1, 1),
    "tolower": Function(lambda value: _str("toLower", value).lower(), 1, 1),
    "toupper": Function(lambda value: _str("toUpper", value).upper(), 1, 1),
    "trim": Function(lambda value: _str("trim", value).strip(), 1, 1),
}
