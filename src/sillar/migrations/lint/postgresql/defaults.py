"""Whether a default differs from row to row."""

from __future__ import annotations

from enum import Enum

from sillar.migrations.lint.tokens import Lexicon, TokenKind, tokenize


class Volatility(Enum):
    """What a default's functions promise."""

    STABLE = "one value for all rows"
    VOLATILE = "a value for each row"
    UNKNOWN = "unknown"


_VOLATILE = {
    "random", "random_normal", "clock_timestamp", "timeofday", "gen_random_uuid", "uuidv4", "uuidv7", "nextval",
    "currval", "setval", "uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "gen_random_bytes", "gen_salt",
    "pg_sleep",
}  # fmt: skip
_STABLE = {
    "now", "transaction_timestamp", "statement_timestamp", "current_timestamp", "localtimestamp", "current_time",
    "localtime", "current_user", "session_user", "current_setting", "lower", "upper", "coalesce", "nullif",
    "greatest", "least", "concat", "concat_ws", "md5", "to_timestamp", "to_date", "to_char", "make_date",
    "make_interval", "make_timestamptz", "date_trunc", "timezone", "jsonb_build_object", "json_build_object",
    "jsonb_build_array", "json_build_array", "to_jsonb", "array_fill", "repeat", "length", "abs", "round", "floor",
    "ceil", "row", "array", "cast", "extract", "interval", "int4range", "tstzrange", "daterange", "numrange",
    "int8range", "tsrange", "to_tsvector", "decode", "encode", "substring", "trim", "txid_current",
    "pg_current_xact_id", "current_schema", "current_database", "age", "date", "numeric", "varchar", "in",
}  # fmt: skip


def volatility(default: str, lexicon: Lexicon) -> Volatility:
    """What is known of a default. A function of one's own is volatile unless declared otherwise, which is not seen."""
    tokens = tokenize(default, lexicon)
    unknown = False
    for at, token in enumerate(tokens[:-1]):
        if not token.is_name or tokens[at + 1].text != "(":
            continue
        before = tokens[at - 1] if at else None
        if before is not None and (before.text == "::" or (before.kind is TokenKind.WORD and before.value == "AS")):
            continue  # a type
        name = token.value.lower()
        if name in _VOLATILE:
            return Volatility.VOLATILE
        unknown = unknown or name not in _STABLE
    return Volatility.UNKNOWN if unknown else Volatility.STABLE
