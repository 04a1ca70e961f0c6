"""cprlab: when does the output softmax of a sequential recommender fail to copy or to exclude, and what fixes it."""

import os

# Before torch is loaded: its threads sleep while they wait. By default they spin, and beside anything else that runs
# they take the time from the thread that they wait for. What the user chose stays.
if "GOMP_SPINCOUNT" not in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
