"""One request for what several producers send to one broker at the same moment.

A coordinator writes each of its partitions by a producer of its own, for each has a fence of its own. The writer of a
batch stands in the batch; a request may hold batches of many producers, and a broker takes each for itself.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from .produce_packet import ProduceAnswer, ProducePacket

Put: TypeAlias = Callable[[ProducePacket], "asyncio.Future[ProduceAnswer]"]
"""Puts a request on the wire; the future is its answer."""

_MOST_BYTES = 8 << 20


class _Parcel(NamedTuple):
    packet: ProducePacket
    put: Put
    answer: "asyncio.Future[ProduceAnswer]"


class Courier:
    """Takes what goes to each node in one turn of the loop, and sends it by the connection of whoever came first.

    The answer is everybody's, and so is its failure: each producer looks for its own partitions in it.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, list[_Parcel]] = {}

    def take(self, node: int, packet: ProducePacket, put: Put) -> "asyncio.Future[ProduceAnswer]":
        """Send it with what else there is for this node."""
        loop = asyncio.get_running_loop()
        parcel = _Parcel(packet, put, loop.create_future())
        parcels = self._waiting.get(node)
        if parcels is None:
            self._waiting[node] = [parcel]
            loop.call_soon(self._send, node)
        else:
            parcels.append(parcel)
        return parcel.answer

    def _send(self, node: int) -> None:
        together: list[_Parcel] = []
        batches: set[tuple[str, int]] = set()
        size = 0
        for parcel in self._waiting.pop(node):
            targets = parcel.packet.targets
            # Of two batches for one partition a broker would take one only.
            if together and (size + parcel.packet.size > _MOST_BYTES or not batches.isdisjoint(targets)):
                _send_together(together)
                together, batches, size = [], set(), 0
            together.append(parcel)
            batches.update(targets)
            size += parcel.packet.size
        _send_together(together)


def _send_together(parcels: Sequence[_Parcel]) -> None:
    first, *others = parcels
    packet = first.packet.joined([parcel.packet for parcel in others]) if others else first.packet
    try:
        first.put(packet).add_done_callback(partial(_answered, parcels))
    except Exception as error:  # noqa: BLE001 - nobody else would tell those who wait
        _fail(parcels, error)


def _answered(parcels: Sequence[_Parcel], answer: "asyncio.Future[ProduceAnswer]") -> None:
    error = answer.exception()
    if error is not None:
        _fail(parcels, error)
        return
    for parcel in parcels:
        if not parcel.answer.done():
            parcel.answer.set_result(answer.result())


def _fail(parcels: Sequence[_Parcel], error: BaseException) -> None:
    for parcel in parcels:
        if not parcel.answer.done():
            parcel.answer.set_exception(error)
