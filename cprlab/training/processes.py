"""Several processes that train one model, a device each, as torchrun starts them; without it, one process.

All run the same program. They differ in the rows of a batch that each one scores, and in what is left to the first:
whatever is decided, shown or written.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from cprlab.errors import ConfigError, CprlabError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# How long a process waits for the others: for the first one's evaluation, or for another training of the same run. One
# that died is no reason to wait; torchrun ends the others then.
PATIENCE = timedelta(days=7)

Result = TypeVar("Result")


def several() -> bool:
    """Say whether torchrun started this process, maybe with others."""
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def count() -> int:
    """Return how many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if several() else 1


def is_first() -> bool:
    """Say whether this process is the one that shows and writes."""
    return not several() or os.environ["RANK"] == "0"


def open_fabric(accelerator: str, precision: Literal["bf16-mixed"] | None = None) -> "Fabric":
    """Return a Fabric of one device, or, where torchrun started this process, of all processes' devices.

    Processes on processors speak gloo, on NVIDIA's GPUs nccl.

    Raises:
        ConfigError: there are more processes on this machine than devices.
    """
    from lightning_fabric import Fabric  # two seconds, and only training needs it
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
    # Which weights have a part in the loss never changes, so those that have none are found in the first step.
    strategy = DDPStrategy(timeout=PATIENCE, static_graph=True)
    machines = count() // here
    fabric = Fabric(accelerator=accelerator, devices=here, num_nodes=machines, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def by_first(act: Callable[[], Result]) -> Result:
    """Let the first process act while the others wait; return in all what that returned, or raise the error it raised.

    Of several processes each must have called `open_fabric` before.
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
    """Return the sum of the processes' values."""
    if not several():
        return value
    summed = torch.tensor(value, dtype=torch.float64, device=fabric.device)
    torch.distributed.all_reduce(summed)
    return summed.item()
