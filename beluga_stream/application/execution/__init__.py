"""One call of a handler, wherever it runs: its arguments, its thread or process, what surrounds it, what it gives.

A map of the modules; each row begins with the one to read first.

The call
    execution: context conversion verdict judging reports
    middleware, what surrounds it: caching resources spanned places

Where it runs
    threads: plain_calls node_threads leaving
    apart, in a process of its own: performing

What it reads while it is written
    streams: sequence readahead feeding
"""
