"""What is said of a name that is not there."""

import pytest

from beluga_stream.domain.misspelt import advice, instead, meant


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("storys", ["stories", "notes"], "is 'stories' meant? There are notes, stories"),
        ("zebra", ["stories", "notes"], "there are notes, stories"),
        ("zebra", [], "there are none"),
        ("zebra", [f"graph{n:02}" for n in range(22)], "graph19 and 2 more"),
    ],
)
def test_the_closest_is_named_or_else_what_there_is(name: str, known: list[str], said: str) -> None:
    assert instead(name, known).endswith(said)


def test_how_alike_it_must_be_is_for_the_caller_to_say() -> None:
    assert meant("STORE_ADRESS", ["STORE_ADDRESS"], alike=0.8) == "STORE_ADDRESS"
    assert meant("STORE_BOX", ["STORE_ADDRESS"], alike=0.8) is None


def test_a_name_of_any_length_is_looked_at_within_a_bound() -> None:
    assert meant("fetch" * 100, ["fetch" * 100 + "!"]) is None


def test_what_to_do_is_to_mend_the_name_or_what_else_is_said() -> None:
    assert advice("fech", ["fetch"], "add it") == "is 'fetch' meant?"
    assert advice("store", ["fetch"], "add it") == "add it"
