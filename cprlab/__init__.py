"""cprlab: when does the output softmax of a sequential recommender fail to copy or to exclude, and what fixes it.

After `import cprlab`, each package is imported when it is first used, as in `cprlab.loading.load_log("my_log.csv")`.
"""

import os
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

# Before torch is loaded: its threads sleep while they wait. By default they spin, and beside anything else that runs
# they take the time from the thread that they wait for. What the user chose stays.
if "GOMP_SPINCOUNT" not in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from cprlab import (
        catalogue,
        data,
        evaluation,
        explorer,
        loading,
        models,
        plots,
        probes,
        results,
        simulation,
        studies,
        sweeps,
        training,
    )

__all__ = [
    "catalogue",
    "data",
    "evaluation",
    "explorer",
    "loading",
    "models",
    "plots",
    "probes",
    "results",
    "simulation",
    "studies",
    "sweeps",
    "training",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
