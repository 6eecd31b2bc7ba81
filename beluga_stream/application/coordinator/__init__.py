"""The coordinator: owns the runs of its partitions, decides, and lets effects follow what is durable.

A map of the modules; each row begins with the one to read first.

The role
    coordinator

What comes in
    deciding: admission intake stamping early batch

What is owned
    partition: states offsets unanswered
    timers: deadlines leases limits

What goes out
    settlement
    rendering: children progress carried arguments

What looks after it
    watchdog, runs that hang: lookout
    sweeping, blobs that nobody wants any more: named
"""
