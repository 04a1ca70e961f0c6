"""Several processes, started by torchrun, that train one model on one device each; without torchrun, one process.

All run the same program. Each scores other rows of a batch, and only the first decides, shows and writes.
"""

import atexit
import os
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from cprlab.errors import ConfigError, CprlabError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# How long a process waits for the others: for the first one's evaluation, or for another training of the same run. If
# one process dies, torchrun ends the others at once.
PATIENCE = timedelta(days=7)

Result = TypeVar("Result")


def several() -> bool:
    """Return whether torchrun started this process, alone or with others."""
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def count() -> int:
    """Return the number of processes that train together."""
    return int(os.environ["WORLD_SIZE"]) if several() else 1


def is_first() -> bool:
    """Return whether this process is the one that shows and writes."""
    return not several() or os.environ["RANK"] == "0"


def open_fabric(accelerator: str, precision: Literal["bf16-mixed"] | None = None) -> "Fabric":
    """Return a Fabric of one device or, if torchrun started this process, of the devices of all processes.

    Processes communicate with gloo on CPUs, and with NCCL on NVIDIA GPUs.

    Args:
        accelerator: "cpu", "cuda" or "mps".
        precision: "bf16-mixed", or None for the precision of the weights.

    Raises:
        ConfigError: there are more processes on this machine than GPUs, or torchrun started them on mps.
    """
    from lightning_fabric import Fabric  # takes two seconds, and only training needs it
    from lightning_fabric.strategies.ddp import DDPStrategy

    if not several():
        return Fabric(accelerator=accelerator, devices=1, precision=precision)
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    if accelerator == "mps":
        raise ConfigError("The device mps trains in one process; leave torchrun out, or use the device cpu.")
    if accelerator == "cuda" and here > torch.cuda.device_count():
        raise ConfigError(
            f"torchrun started {here} processes here for {torch.cuda.device_count()} GPUs; "
            f"give it --nproc-per-node {torch.cuda.device_count()}, or use the device cpu."
        )
    # The set of weights that the loss depends on never changes, so DDP finds unused weights in the first step.
    strategy = DDPStrategy(timeout=PATIENCE, static_graph=True)
    machines = count() // here
    fabric = Fabric(accelerator=accelerator, devices=here, num_nodes=machines, strategy=strategy, precision=precision)
    first = not torch.distributed.is_initialized()
    fabric.launch()
    if first:
        atexit.register(_close)
    return fabric


def _close() -> None:
    """End the threads of the process group: one that still runs when Python ends may abort the process."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def by_first(act: Callable[[], Result]) -> Result:
    """Call `act` in the first process while the others wait; all return its result, or raise its CprlabError.

    If there are several processes, each must have called `open_fabric` before.
    """
    if not several():
        return act()
    outcome: list[Any] = [None, None]
    if is_first():
        try:
            outcome[0] = act()
        except CprlabError as error:
            outcome[1] = error
    torch.distributed.broadcast_object_list(outcome)
    result, raised = outcome
    if raised is not None:
        raise raised
    return result


def total(fabric: "Fabric", value: float) -> float:
    """Return the sum of a value over all processes."""
    if not several():
        return value
    summed = torch.tensor(value, dtype=torch.float64, device=fabric.device)
    torch.distributed.all_reduce(summed)
    return summed.item()
