"""How many seeds are played: SEEDS of random graphs, and SIDE_SEEDS decide about the others.

SIDE_SEEDS are as many as SEEDS unless told, and 1,600 at most: each of the others plays one kind of thing again and
again, and random graphs, which are all kinds of things, have the time. `make simulate SEEDS=5000` plays 5,000 of
random graphs, 625 whose workers go on with the next node, 1,200 of streams, 400 of an orchestrator, 200 each of swept
values, sealed values and gateways, and 25 of each use.
"""

import os

SEEDS = int(os.environ.get("SEEDS", "80"))
SIDE_SEEDS = int(os.environ.get("SIDE_SEEDS", str(min(SEEDS, 1_600))))
