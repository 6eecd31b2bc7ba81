"""Faust: consumer groups, delivery in batches, ordered acknowledgement, and the table of runs."""
