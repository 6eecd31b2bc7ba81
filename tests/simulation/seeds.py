"""How many seeds are played: SEEDS of random graphs, and SIDE_SEEDS (as many, unless told) decide about the others."""

import os

SEEDS = int(os.environ.get("SEEDS", "80"))
SIDE_SEEDS = int(os.environ.get("SIDE_SEEDS", str(SEEDS)))
