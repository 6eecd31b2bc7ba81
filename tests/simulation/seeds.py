"""How many seeds are played: SEEDS of random graphs, and SIDE_SEEDS (as many unless told, 500 at most) of the others.

The others are about one thing each that random graphs have as well, and most of their seeds cost more.
"""

import os

_MOST_AT_THE_SIDE = 500

SEEDS = int(os.environ.get("SEEDS", "80"))
SIDE_SEEDS = int(os.environ.get("SIDE_SEEDS", str(min(SEEDS, _MOST_AT_THE_SIDE))))
