"""The worker: runs the nodes that it is given, holds the long ones by leases, and reports what came of them.

A map of the modules; each row begins with the one to read first.

The role
    worker: underway slots outbox reported
    attempts, one execution and its report: incarnations sending fusion

What outlasts a process
    leases: notices
"""
