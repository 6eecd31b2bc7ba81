"""Misspelt names."""

from beluga_stream.domain.spelling import advice, meant


def test_the_nearest_name_is_meant_if_one_is_near() -> None:
    assert meant("fech", ["fetch", "title", "length"]) == "fetch"
    assert meant("fech", ["title"]) is None
    assert meant("fech", []) is None


def test_a_name_of_any_length_is_looked_at_within_a_bound() -> None:
    assert meant("fetch" * 100, ["fetch" * 100 + "!"]) is None


def test_what_to_do_is_to_mend_the_name_or_what_else_is_said() -> None:
    assert advice("fech", ["fetch"], "add it") == "is 'fetch' meant?"
    assert advice("store", ["fetch"], "add it") == "add it"
