"""Three nodes of Apache Kafka from its jars: what a cluster is that loses one of them."""

from contextlib import ExitStack

from .answering import free_port
from .jars import JarKafka, Seat

_NODES = 3


class JarTrio:
    """A cluster of three, each a broker and a controller, on free ports of the loopback."""

    real = True

    def __init__(self, *, heap: str = "512m", brief: bool = False) -> None:
        controllers = tuple(free_port() for _ in range(_NODES))
        self.nodes = [JarKafka(heap=heap, brief=brief, seat=Seat(n, controllers)) for n in range(1, _NODES + 1)]
        self.address = ",".join(node.address for node in self.nodes)
        self.title = "Apache Kafka from its jars, three nodes"

    def start(self) -> None:
        with ExitStack() as stack:
            stack.callback(self.stop)
            for node in self.nodes:
                node.prepare()
            # None answers before two of them have found each other.
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                node.wait_until_ready()
            stack.pop_all()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
