"""The worker: runs the nodes that it is given, holds the long ones by leases, and reports what came of them.

A map of the modules; each row begins with the one to read first.

The role
    worker: underway leases slots reported
    attempts, one execution and its report: code incarnations sending fusion
    notices, what every worker must know
"""
