"""Counters that cost next to nothing: they are added up here, and told when somebody collects them.

A counter of OpenTelemetry's SDK takes some microseconds for each addition, a quick node's run not much more.
"""

from collections.abc import Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from .catalog import Metric


class KeptSum:
    """One counter, added to in one thread. The meter must have no other of this name: the SDK would tell only one."""

    def __init__(self, meter: Meter, name: str, metric: Metric) -> None:
        self._attributes = metric.attributes
        self._values: dict[tuple[str | bool, ...], int] = {}
        if metric.type == "updown":
            meter.create_observable_up_down_counter(name, [self._told], metric.unit, metric.meaning)
        else:
            meter.create_observable_counter(name, [self._told], metric.unit, metric.meaning)

    def add(self, amount: int, attributes: Mapping[str, str | bool] | None = None) -> None:
        """As an instrument's; the attributes are all of the metric's, in the order of the catalog."""
        key = () if attributes is None else tuple(attributes.values())
        self._values[key] = self._values.get(key, 0) + amount

    def _told(self, _: CallbackOptions) -> Iterable[Observation]:
        # Collected in a thread of the exporter's: a copy, since others are added meanwhile.
        for key, value in list(self._values.items()):
            yield Observation(value, dict(zip(self._attributes, key, strict=True)))
