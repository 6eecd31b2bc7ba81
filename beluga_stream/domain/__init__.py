"""The pure core: what a graph means and how a run moves. No clock, I/O, randomness, async or logging."""
