"""What one process keeps for those in it: results, circuits, counts.

A map of the modules; each row begins with the one to read first.

    in_process: sqlite_files
    circuits
    tally
"""
