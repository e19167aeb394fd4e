"""The words a file is found by."""

from __future__ import annotations

from codeatlas.terms import (
    WEIGHT_NAME,
    WEIGHT_PART,
    WEIGHT_TEXT,
    name_parts,
    path_grams,
    prefix_end,
    query_grams,
    query_words,
    text_terms,
)


def test_names_outweigh_their_parts_and_parts_the_text() -> None:
    terms = text_terms(
        "class HTTPServer: parse_request()  # größe", ["HTTPServer", "HTTPServer.do_GET"], "http/server.py"
    )
    assert terms["httpserver"] == terms["do_get"] == terms["server"] == terms["http"] == WEIGHT_NAME
    assert terms["get"] == WEIGHT_PART
    assert terms["parse_request"] == terms["größe"] == WEIGHT_TEXT
    assert "py" not in terms


def test_names_are_split_where_people_see_words() -> None:
    assert name_parts("parse_HTTPHeader2") == ["parse", "http", "header2"]
    assert name_parts("__init__") == ["init"]
    assert name_parts("x_1") == []


def test_very_long_words_are_left_out() -> None:
    assert text_terms("a" * 41 + " " + "b" * 40, [], "x.py") == {"b" * 40: WEIGHT_TEXT}


def test_any_part_of_a_path_is_found_by_its_grams() -> None:
    path = "Email/mime.py"
    grams = path_grams(path)
    for start in range(len(path)):
        for end in range(start + 1, len(path) + 1):
            part = path[start:end]
            wanted = query_grams(part)
            if len(part) < 3:
                assert any(gram.startswith(wanted[0]) for gram in grams)
            else:
                assert grams.issuperset(wanted)
    assert not grams.issuperset(query_grams("mine"))


def test_queries_are_words_in_lower_case() -> None:
    assert query_words("  Parse.Args, parse ") == ["parse", "args"]
    assert query_words("1 + ! a") == []
    assert query_words("b a " + "w" * 50 + " " + " ".join(f"x{number}" for number in range(9))) == [
        "w" * 40,
        *(f"x{number}" for number in range(5)),
    ]
    assert query_grams("") == []


def test_the_end_of_a_prefix_range() -> None:
    assert "par" <= "parse" < prefix_end("par")
    assert "par" <= "par𝔵" < prefix_end("par")
    assert not prefix_end("par") > "pas"
