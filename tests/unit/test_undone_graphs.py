"""A subgraph that has succeeded is undone as a whole, when something after it fails."""

from collections.abc import Callable

import pytest
from pydantic import BaseModel

from beluga_stream import Graph, Retry, chain
from beluga_stream.errors import InvalidGraph, RunFailed

ONCE = Retry(1)


class Trip(BaseModel):
    to: str


class Booking(BaseModel):
    trip: Trip
    seat: int


def book(trip: Trip) -> Booking:
    return Booking(trip=trip, seat=7)


def pay(booking: Booking) -> str:
    raise ConnectionError(f"no payment for seat {booking.seat}")


booking = Graph[Trip, Booking]("booking")
booking.set_finish_point(booking.add_node(book, booking.input))


@pytest.mark.parametrize("part", [booking, chain(book, name="booking")], ids=["graph", "chain"])
async def test_it_is_told_what_it_was_given_and_what_it_gave(part: Graph[Trip, Booking]) -> None:
    undone: list[tuple[Trip, Booking]] = []

    async def cancel(trip: Trip, input: Booking) -> None:  # noqa: A002 - as the subgraph's own parameter is named
        undone.append((trip, input))

    travel = Graph[Trip, str]("travel")
    booked = travel.add_node(part, travel.input, compensate=cancel)
    travel.set_finish_point(travel.add_node(pay, booked, retry=ONCE))
    with pytest.raises(RunFailed, match="no payment for seat 7"):
        await travel.invoke(Trip(to="Dover"))
    assert undone == [(Trip(to="Dover"), Booking(trip=Trip(to="Dover"), seat=7))]


async def test_it_is_undone_in_its_turn() -> None:
    undone: list[str] = []

    def undo(name: str) -> Callable[[Trip, Booking], None]:
        def call(trip: Trip, booked: Booking) -> None:
            undone.append(name)

        return call

    travel = Graph[Trip, str]("travel")
    first = travel.add_node(book, travel.input, name="first", compensate=undo("first"))
    second = travel.add_node(booking, travel.input, after=first, compensate=undo("second"))
    third = travel.add_node(book, travel.input, after=second, name="third", compensate=undo("third"))
    travel.set_finish_point(travel.add_node(pay, third, retry=ONCE))
    with pytest.raises(RunFailed):
        await travel.invoke(Trip(to="Dover"))
    assert undone == ["third", "second", "first"]


async def test_one_that_fails_itself_is_not() -> None:
    undone: list[str] = []

    def cancel(trip: Trip, paid: str) -> None:
        undone.append(paid)

    paying = Graph[Trip, str]("paying")
    paying.set_finish_point(paying.add_node(pay, paying.add_node(book, paying.input), retry=ONCE))
    travel = Graph[Trip, str]("travel")
    travel.set_finish_point(travel.add_node(paying, travel.input, compensate=cancel))
    with pytest.raises(RunFailed):
        await travel.invoke(Trip(to="Dover"))
    assert undone == []


def test_what_cannot_undo_it_is_refused_by_the_name_of_its_node() -> None:
    def takes_the_result_alone(booked: Booking) -> None: ...

    travel = Graph[Trip, Booking]("travel")
    node = travel.add_node(booking, travel.input, compensate=takes_the_result_alone)  # type: ignore[arg-type]  # the point
    travel.set_finish_point(node)
    with pytest.raises(
        InvalidGraph, match="takes_the_result_alone of node 'booking' takes 1 arguments, and must take 2"
    ):
        travel.compile()
