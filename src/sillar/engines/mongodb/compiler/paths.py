"""Items of JSON documents and arrays: ``column["a"]["b"]``, ``.as_string()``, ``array[1]``.

A path's key travels as a value, so a key that begins with ``$`` or contains a dot is only ever a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sqltypes

from sillar.engines.mongodb.compiler.alignment import NULL, literal
from sillar.engines.mongodb.compiler.failures import Failure, failing
from sillar.engines.mongodb.compiler.kinds import Kind, kind_of
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Expression
from sillar.engines.mongodb.compiler.template import Late
from sillar.errors import ParameterError

if TYPE_CHECKING:
    from sillar.engines.mongodb.compiler.values import ValueVisitor


def item(visitor: ValueVisitor, element: Any) -> Expression:
    """An item of a JSON document or of an array; NULL where there is none.

    Raises:
        UnsupportedCapabilityError: the operand is neither, or the key is not a value.
    """
    base = visitor.of(element.left)
    key = element.right
    if not hasattr(key, "effective_value"):
        raise unsupported("an item whose key is computed", "give the key as a value")
    slot = visitor.scope.compilation.slot(key, _key)
    if base.kind is Kind.ARRAY:
        item_type = getattr(base.type, "item_type", sqltypes.NullType())
        if getattr(base.type, "zero_indexes", False):
            raise unsupported("an ARRAY with zero_indexes", "leave zero_indexes out")
        code: Any = Late([slot], lambda index: _of_array(base.code, index))
        return Expression(code, kind_of(item_type), item_type)
    if base.kind is not Kind.JSON:
        raise unsupported(f"an item of {base.kind.value}", "use a JSON or ARRAY column")
    code = Late([slot], lambda keys: _at(base.code, keys))
    if kind_of(element.type) is Kind.JSON:
        return Expression(code, Kind.JSON, element.type)
    return _as(code, element.type)


def _key(given: Any) -> Any:
    keys = given if isinstance(given, (list, tuple)) else (given,)
    if any(isinstance(key, bool) or not isinstance(key, (str, int)) for key in keys):
        raise ParameterError("the path of a JSON item consists of texts and integers")
    if any(isinstance(key, str) and "\0" in key for key in keys):
        raise ParameterError("a key of a JSON path contains a NUL character, which no document has")
    return given


def _of_array(array: Any, index: Any) -> Any:
    if isinstance(index, bool) or not isinstance(index, int):
        raise ParameterError("an array's index is an integer")
    if index < 1:
        return NULL  # PostgreSQL counts from 1, and has nothing below
    return {"$cond": [{"$isArray": [array]}, {"$arrayElemAt": [array, literal(index - 1)]}, NULL]}


def _at(base: Any, keys: Any) -> Any:
    for key in keys if isinstance(keys, (list, tuple)) else (keys,):
        if isinstance(key, int):
            base = {"$cond": [{"$isArray": [base]}, {"$arrayElemAt": [base, literal(key)]}, NULL]}
        else:
            base = {
                "$cond": [
                    {"$eq": [{"$type": base}, "object"]},
                    {"$getField": {"field": literal(key), "input": base}},
                    NULL,
                ]
            }
    return base


def _as(code: Any, target: Any) -> Expression:
    """The item as PostgreSQL reads it from its text; what has no such form fails there and here."""
    kind = kind_of(target)
    text = {"$toString": code}
    if kind is Kind.TEXT:
        return Expression(text, kind, target)
    if kind is Kind.INT:
        return Expression({"$toLong": text}, kind, target)
    if kind is Kind.FLOAT:
        return Expression({"$cond": [{"$isNumber": code}, {"$toDouble": code}, {"$toDouble": text}]}, kind, target)
    if kind is Kind.DECIMAL:
        return Expression({"$toDecimal": text}, kind, target)
    if kind is Kind.BOOL:
        same = {"$eq": [{"$type": code}, "bool"]}
        known = {"$gt": [code, None]}
        return Expression({"$cond": [same, code, {"$cond": [known, _bool_of_text(text), NULL]}]}, kind, target)
    raise unsupported(f"a JSON item as {kind.value}", "use as_string(), as_integer(), as_float() or as_boolean()")


def _bool_of_text(text: Any) -> Any:
    return {
        "$switch": {
            "branches": [
                {"case": {"$in": [text, literal(["true", "t", "1", "yes", "on"])]}, "then": literal(True)},
                {"case": {"$in": [text, literal(["false", "f", "0", "no", "off"])]}, "then": literal(False)},
            ],
            "default": {"$toBool": failing(Failure.BOOLEAN)},
        }
    }
