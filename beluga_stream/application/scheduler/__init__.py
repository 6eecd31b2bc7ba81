"""The scheduler of tasks in one process.

A map of the modules; each row begins with the one to read first.

    tasks: task
"""
