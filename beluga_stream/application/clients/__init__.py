"""What a client needs of the log: it starts runs, tells them things, follows them and lists them.

A map of the modules; each row begins with the one to read first.

Asking
    desk: runs signalling overrides forks

Following a run
    following: results inner shown answer ending cursor event_json
    tails, who reads the log for it: follower catchup

Looking at many
    summaries: runlist snapshot
"""
