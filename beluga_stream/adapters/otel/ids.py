"""Ids of traces and spans: those that are agreed on, and new ones for all else."""

from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from .agreeing import given


class AgreedIds(IdGenerator):
    """The id generator of tracers whose spans go by what they are about. `others` makes all other ids."""

    def __init__(self, others: IdGenerator | None = None) -> None:
        self._others = RandomIdGenerator() if others is None else others

    def generate_span_id(self) -> int:
        ids = given.get()
        return self._others.generate_span_id() if ids is None else ids[1]

    def generate_trace_id(self) -> int:
        ids = given.get()
        return self._others.generate_trace_id() if ids is None or ids[0] is None else ids[0]
