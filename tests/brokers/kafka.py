"""Apache Kafka as tests want it, in Docker and from its jars alike: one small node that is quick to begin."""

KAFKA_IMAGE = "apache/kafka:4.1.0"
BACK_WITHIN = 180.0
"""A broker that was killed looks through all that it has, on a machine where many do something else (seconds)."""

CLUSTER = "5L6g3nShT-eMCtK--X86sw"  # any id will do: one broker is the whole cluster

SETTINGS = {
    "node.id": "1",
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    # One broker holds every replica.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    # Hundreds of small groups come and go: no waiting for more members, and few partitions of bookkeeping.
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    # A topic that nobody declared is a mistake, and must look like one.
    "auto.create.topics.enable": "false",
}
"""One KRaft node, in Kafka's own names; the container gets them as KAFKA_... variables."""

BRIEF = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Options of Java for a broker that lives for minutes: else it spends more on compiling itself than on its work."""
