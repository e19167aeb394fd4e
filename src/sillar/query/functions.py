"""Names that may stand before an opening parenthesis without leaving a trace in the session.

A function that is missing here only costs a reset round trip; one that is wrongly here would leak session state from
one
caller to the next. When in doubt, leave it out.
"""

from __future__ import annotations

from typing import Final

KEYWORDS_BEFORE_PARENTHESIS: Final = frozenset(
    [
        "all",
        "and",
        "any",
        "array",
        "as",
        "between",
        "by",
        "case",
        "conflict",
        "cross",
        "cube",
        "distinct",
        "else",
        "except",
        "exists",
        "filter",
        "from",
        "full",
        "group",
        "having",
        "in",
        "inner",
        "intersect",
        "interval",
        "into",
        "is",
        "join",
        "key",
        "lateral",
        "left",
        "like",
        "limit",
        "matched",
        "materialized",
        "natural",
        "not",
        "offset",
        "on",
        "or",
        "order",
        "outer",
        "over",
        "partition",
        "recursive",
        "returning",
        "right",
        "rollup",
        "row",
        "select",
        "set",
        "sets",
        "some",
        "then",
        "union",
        "unique",
        "update",
        "using",
        "values",
        "when",
        "where",
        "window",
        "with",
        "within",
        "index",
        "replace",
    ]
)

_TYPES = """
    bigint bit char character datetime dec decimal double float int integer nchar numeric nvarchar real smallint time
    timestamp timestamptz timetz varbinary varbit varchar varying precision binary text
"""
_AGGREGATES_AND_WINDOWS = """
    array_agg avg bit_and bit_or bool_and bool_or corr count cume_dist dense_rank every first_value group_concat
    grouping
    json_agg json_array_agg json_arrayagg json_group_array json_group_object json_object_agg json_objectagg jsonb_agg
    jsonb_object_agg lag last_value lead max median min mode nth_value ntile percent_rank percentile_cont
    percentile_disc rank row_number std stddev stddev_pop stddev_samp string_agg sum total var_pop var_samp variance
"""
_VALUES = """
    abs acos asin atan atan2 cast ceil ceiling coalesce convert cos cot degrees div exp floor greatest if ifnull iif
    isnull least ln log log10 log2 mod nullif pi pow power radians random rand round sign sin sqrt tan trunc truncate
    typeof width_bucket
"""
_STRINGS = """
    ascii bit_length btrim char_length character_length chr concat concat_ws decode elt encode field find_in_set format
    from_base64 glob hex initcap insert instr left length locate lower lpad ltrim md5 octet_length overlay position
    printf quote regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace
    regexp_split_to_array regexp_split_to_table regexp_substr repeat replace reverse right rpad rtrim sha1 sha2 sha256
    soundex split_part starts_with string_to_array string_to_table strpos substr substring substring_index to_base64
    to_hex translate trim ucase lcase unhex unicode unistr upper uuid uuid_to_bin bin_to_uuid
    similarity word_similarity to_tsvector to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery ts_rank
    ts_rank_cd ts_headline match against bm25 highlight snippet
"""
_TIMES = """
    adddate addtime age clock_timestamp curdate current_date current_time current_timestamp curtime date date_add
    date_bin date_format date_part date_sub date_trunc datediff day dayname dayofmonth dayofweek dayofyear extract
    from_unixtime hour isfinite julianday last_day localtime localtimestamp make_date make_interval make_time
    make_timestamp make_timestamptz microsecond minute month monthname now period_diff quarter sec_to_time second
    statement_timestamp str_to_date strftime subdate sysdate time_format timediff timestampadd timestampdiff
    to_char to_date to_days to_number to_timestamp transaction_timestamp unix_timestamp unixepoch utc_date utc_time
    utc_timestamp week weekday weekofyear year yearweek
"""
_STRUCTURES = """
    array_append array_cat array_dims array_length array_lower array_position array_positions array_prepend
    array_remove array_replace array_to_json array_to_string array_upper cardinality generate_series json json_array
    json_array_elements json_array_elements_text json_array_length json_build_array json_build_object json_contains
    json_contains_path json_depth json_each json_each_text json_extract json_extract_path json_extract_path_text
    json_insert json_keys json_length json_merge_patch json_merge_preserve json_object json_object_keys json_overlaps
    json_patch json_populate_record json_populate_recordset json_pretty json_quote json_remove json_replace json_search
    json_set json_strip_nulls json_table json_to_record json_to_recordset json_tree json_type json_typeof json_unquote
    json_valid json_value jsonb jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array
    jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert
    jsonb_object jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array
    jsonb_path_query_first jsonb_populate_record jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax
    jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof row_to_json to_json to_jsonb unnest
    int4range int8range numrange tsrange tstzrange daterange lower_inc upper_inc isempty
"""
_SERVER = """
    changes connection_id current_database current_schema current_setting current_user database found_rows
    gen_random_uuid last_insert_id last_insert_rowid nextval pg_backend_pid pg_column_size pg_current_wal_insert_lsn
    pg_current_wal_lsn pg_database_size pg_is_in_recovery pg_last_wal_replay_lsn pg_relation_size pg_size_pretty
    pg_sleep pg_table_size pg_total_relation_size pg_typeof row_count schema session_user sleep sqlite_version
    total_changes txid_current user uuid_generate_v4 uuidv4 uuidv7 version
"""

HARMLESS_FUNCTIONS: Final = frozenset(
    " ".join((_TYPES, _AGGREGATES_AND_WINDOWS, _VALUES, _STRINGS, _TIMES, _STRUCTURES, _SERVER)).split()
)

_NOT_IN_POSTGRESQL = """
    adddate addtime against bin_to_uuid bm25 changes connection_id curdate curtime database date_format date_sub
    datediff datetime day dayname dayofmonth dayofweek dayofyear elt field find_in_set found_rows from_base64
    from_unixtime glob group_concat hex highlight hour if ifnull iif insert instr json_array_agg json_contains
    json_contains_path json_depth json_extract json_group_array json_group_object json_insert json_keys json_length
    json_merge_patch json_merge_preserve json_overlaps json_patch json_pretty json_quote json_remove json_replace
    json_search json_set json_tree json_type json_unquote json_valid jsonb julianday last_day last_insert_id
    last_insert_rowid lcase locate log2 match median microsecond minute month monthname nvarchar period_diff printf
    quarter quote rand row_count schema sec_to_time second sha1 sha2 sleep snippet soundex sqlite_version std
    str_to_date strftime subdate substring_index sysdate time_format timediff timestampadd timestampdiff to_base64
    to_days total total_changes truncate typeof ucase unhex unicode unix_timestamp unixepoch utc_date utc_time
    utc_timestamp uuid uuid_to_bin varbinary week weekday weekofyear year yearweek
"""

POSTGRESQL_FUNCTIONS: Final = HARMLESS_FUNCTIONS - frozenset(_NOT_IN_POSTGRESQL.split())
"""Those of PostgreSQL: a function of another name is one that a user has written, and may do anything."""

WRITING_FUNCTIONS: Final = frozenset({"nextval", "txid_current"})
"""Those among them that write, so that no replica can run them: no trace in the session, but no read either."""
