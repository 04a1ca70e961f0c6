"""Measure the speed of the kernel: its loss and gradients, in turns with other exact losses."""

import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.on_gpu.correct import D, largest, worst
from benchmarks.on_gpu.rows import SPARE, Clock, Rows, sentence
from cprlab.models import Context, Outputs, SoftmaxConfig, parse_head
from cprlab.models.heads import PartitionedSoftmax
from cprlab.training import kernel
from cprlab.training.loss import CrossEntropy

LENGTH = 64
CE, CPR, EAGER_CPR = "ours", "ours, CPR:100", "eager, CPR:100"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EXACT = {"float32": 1e-4, "bfloat16": 2e-2}  # tolerances like WITHIN; TF32 products exceed float32's
CHUNKS = tuple(2**power for power in (23, 24, 26, 27, 29))  # logits at once, besides the value in `kernel.CHUNK`
GOAL = 1.3  # times the fastest exact cross-entropy
ROUNDS = 7
PATIENCE = 60  # seconds until a side must have compiled and run


# Returns the loss and its gradients for rows (N, d) and weights (V, d).
Side = Callable[[], Any]


@dataclass(frozen=True)
class Task:
    """N rows with one target each among V items; bfloat16 numbers for both precisions, so both have the same answer.

    Attributes:
        rows: (N, d) float32.
        weight: (V, d) float32.
        targets: (N,) int64.
        precision: precision of the products.
    """

    rows: torch.Tensor
    weight: torch.Tensor
    targets: torch.Tensor
    precision: str

    @classmethod
    def draw(cls, n_items: int, n_targets: int, precision: str, device: torch.device) -> "Task":
        """Draw a task whose rows form whole windows of LENGTH."""
        generator = torch.Generator(device).manual_seed(0)
        rows = torch.randn(n_targets, D, generator=generator, device=device)
        weight = torch.randn(n_items, D, generator=generator, device=device) * 0.1
        targets = torch.randint(n_items, (n_targets,), generator=generator, device=device)
        return cls(rows.bfloat16().float(), weight.bfloat16().float(), targets, precision)

    def autocast(self) -> torch.autocast:
        """Use the precision for products, as training does."""
        return torch.autocast(self.rows.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def of(self, loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor], low: bool = False) -> Side:
        """Return a side from its summed loss; with `low`, rows and weights themselves have the precision."""
        dtype = DTYPES[self.precision] if low else torch.float32
        rows, weight = (tensor.to(dtype, copy=True).requires_grad_() for tensor in (self.rows, self.weight))

        def once() -> tuple[torch.Tensor, ...]:
            with self.autocast() if not low else torch.autocast(self.rows.device.type, enabled=False):
                value = loss(rows, weight, self.targets)
            return value.detach(), *torch.autograd.grad(value, [rows, weight])

        return once

    def expected(self) -> tuple[torch.Tensor, ...]:
        """Return the loss and its gradients in float64, a few rows at a time."""
        rows, weight = (tensor.double().requires_grad_() for tensor in (self.rows, self.weight))
        value, step = torch.zeros((), dtype=torch.float64, device=rows.device), max(1, 2**27 // len(weight))
        for start in range(0, len(rows), step):
            part = dense(rows[start : start + step], weight, self.targets[start : start + step])
            part.backward()
            value += part.detach()
        assert rows.grad is not None
        assert weight.grad is not None
        return value, rows.grad, weight.grad

    def head(self, name: str, through: Callable[..., torch.Tensor]) -> Side:
        """Return the side of a head; the facet of its vocabulary is the rows, its other facets are random."""
        config = parse_head(name)
        assert isinstance(config, SoftmaxConfig)
        head, n_items, device = PartitionedSoftmax(config, D, layers=1), len(self.weight), self.rows.device
        generator = torch.Generator(device).manual_seed(1)
        shape = (-1, LENGTH, D)
        facets = {
            facet: (self.rows if facet == "V" else torch.randn(self.rows.shape, generator=generator, device=device))
            .clone().view(shape).requires_grad_()
            for facet in head.maps
        }  # fmt: skip
        weight = F.pad(self.weight, (0, 0, 0, 1)).requires_grad_()
        targets = self.targets.view(-1, LENGTH)
        items = torch.randint(n_items, targets.shape, generator=generator, device=device)
        at = torch.arange(LENGTH, device=device).expand(len(targets), -1)

        def once() -> tuple[torch.Tensor, ...]:
            with self.autocast():
                value = through(head, facets, Outputs(weight, None), Context(items, at, n_items), targets)
            grads = torch.autograd.grad(value, [facets["V"], weight, *facets.values()])
            return value.detach(), grads[0].view_as(self.rows), grads[1][:-1]

        return once


def dense(rows: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return PyTorch's summed cross-entropy, with all logits at once."""
    return F.cross_entropy(rows @ weight.T, targets, reduction="sum")


def _ours(head: Any, facets: Any, outputs: Outputs, context: Context, targets: torch.Tensor) -> torch.Tensor:
    loss = CrossEntropy()
    return kernel.chunked(loss, head, facets, outputs, context, targets, loss.draw(targets))


def _eager(head: Any, facets: Any, outputs: Outputs, context: Context, targets: torch.Tensor) -> torch.Tensor:
    return F.nll_loss(head.log_probs(facets, outputs, context).flatten(0, 1), targets.flatten(), reduction="sum")


def _compiled(task: Task) -> Side:
    return task.of(torch.compile(dense, dynamic=False))


def _torchs_own(task: Task) -> Side:
    options = torch.nn.LinearCrossEntropyOptions()  # from torch 2.13 on
    return task.of(partial(F.linear_cross_entropy, reduction="sum", options=options), low=True)


def _apple(task: Task) -> Side:
    loss = import_module("cut_cross_entropy").linear_cross_entropy
    return task.of(partial(loss, reduction="sum", filter_eps=None), low=True)  # no gradient is rounded to zero


def _liger(task: Task, larger: int = 1) -> Side:
    function = import_module("liger_kernel.ops.fused_linear_cross_entropy").LigerFusedLinearCrossEntropyFunction

    def loss(rows: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        # No bias, item weights, smoothing or cap; sums in float32; returns only the loss; Liger's own cross-entropy.
        options = (None, None, -100, 0.0, 0.0, "sum", None, False, torch.float32, False, False, False, None, None)
        named = function.apply(rows, weight, targets, *options, larger)
        return named[0] if isinstance(named, tuple) else named

    return task.of(loss, low=True)


def _quack(task: Task) -> Side:
    loss = import_module("quack.linear_cross_entropy").chunked_linear_cross_entropy
    return task.of(partial(loss, reduction="sum", tuned=False), low=True)


RIVALS: dict[str, Callable[[Task], Side]] = {
    "eager": lambda task: task.of(dense),
    "torch.compile": _compiled,
    "torch's linear_cross_entropy": _torchs_own,
    "cut_cross_entropy": _apple,
    "Liger": _liger,
    "Liger, larger chunks": partial(_liger, larger=64),  # its default has N · d logits, few for a small d
    "QuACK": _quack,
}


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise a TimeoutError in the block after this time; compiling may take minutes."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"no result after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def prepare(names: dict[str, Callable[[Task], Side]], task: Task, until: Clock) -> Iterator[tuple[str, Any]]:
    """Yield each side with its name, compiled and warm, with its peak memory and errors; or why it is not available."""
    value, *grads = task.expected()
    for name, build in names.items():
        if not until.left():
            yield name, "no time"
            continue
        try:
            with within(min(PATIENCE, until.left() + SPARE)):
                side = build(task)
                side()
                before = _forget_peak(task.rows.device)
                found, *of_side = side()
                memory = _peak(task.rows.device) - before
                same = all(map(torch.equal, side(), (found, *of_side)))
            row: dict[str, Any] = {"memory_mb": memory / 2**20, "loss_error": abs(float(found) / float(value) - 1)}
            row["repeatable"] = same  # bit for bit
            if name not in (CPR, EAGER_CPR):
                errors = [largest(grad - true) / largest(true) for grad, true in zip(of_side, grads, strict=True)]
                row["gradient_error"] = worst(errors)
                row["exact"] = worst([row["loss_error"], *errors]) < EXACT[task.precision]
            yield name, (side, row)
        except (ImportError, AttributeError) as error:
            yield name, f"not here ({sentence(error)})"
        except Exception as error:  # another library may raise anything
            yield name, sentence(error)
        finally:
            found = of_side = side = None  # type: ignore[assignment]
            if task.rows.device.type == "cuda":
                torch.cuda.empty_cache()


def race(rows: Rows, task: Task, until: Clock, rivals: dict[str, Callable[[Task], Side]] = RIVALS) -> None:
    """Add a row for each side: its median time, the median ratio of our time to it, and its errors."""
    about = {"items": len(task.weight), "targets": len(task.rows), "precision": task.precision}
    heads = {
        CE: lambda task: task.head("Softmax", _ours),
        CPR: lambda task: task.head("Softmax + CPR:100", _ours),
        EAGER_CPR: lambda task: task.head("Softmax + CPR:100", _eager),
    }
    sides, told = {}, {}
    for name, found in prepare(heads | rivals, task, until):
        if isinstance(found, str):
            ours = {"right": False} if name in (CE, CPR) and found != "no time" else {}
            rows.add("speed", **about, side=name, ms=None, said=found, **ours)
        else:
            sides[name], told[name] = found
    if CE not in sides:
        return
    times = rounds(sides, task.rows.device, until)
    ratio = {
        name: [one / other for one, other in zip(times[CE], of_side, strict=True)] for name, of_side in times.items()
    }
    for name, of_side in times.items():
        row = {"ms": statistics.median(of_side), "low": min(of_side), "high": max(of_side)} | told[name]
        wrong = {"right": False} if name == CE and not row["exact"] else {}
        rows.add("speed", **about, side=name, **row, ours_to_it=statistics.median(ratio[name]), **wrong)
    if exact := [name for name in rivals if name in sides and told[name]["exact"]]:
        fastest = min(exact, key=lambda name: statistics.median(times[name]))
        reached = statistics.median(ratio[fastest])
        goal = f"ours ≤ {GOAL} × the fastest exact CE"
        rows.add("goal", **about, goal=goal, fastest=fastest, ratio=reached, reached=reached <= GOAL)


def rounds(sides: dict[str, Side], device: torch.device, until: Clock, repeats: int = ROUNDS) -> dict[str, list[float]]:
    """Return each side's milliseconds, measured in turns; fewer rounds, but at least one, if the time is over."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(repeats):
        if number and not until.left():
            break
        for name, side in sides.items():
            times[name].append(milliseconds(side, device))
    return times


def milliseconds(side: Side, device: torch.device) -> float:
    """Return the time of one call: by CUDA events on a GPU, by the clock on a CPU."""
    if device.type != "cuda":
        began = time.perf_counter()
        side()
        return 1e3 * (time.perf_counter() - began)
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    side()
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop)


def _forget_peak(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else 0


def chunk_sizes(rows: Rows, task: Task, until: Clock, sizes: tuple[int, ...] = CHUNKS) -> None:
    """Add a row for each number of logits that the kernel may hold at once: the time of both heads."""
    about = {"items": len(task.weight), "targets": len(task.rows), "precision": task.precision}
    device, sides = task.rows.device, {}
    own = kernel.CHUNK[device.type]
    try:
        for size in (own[2], *sizes):
            if not until.left():
                break
            for name, head in ((CE, "Softmax"), (CPR, "Softmax + CPR:100")):
                kernel.CHUNK[device.type] = (0, len(task.rows), size)
                try:
                    side = task.head(head, _ours)
                    side()
                    sides[name, size] = statistics.median(milliseconds(side, device) for _ in range(3))
                except torch.OutOfMemoryError:
                    continue
    finally:
        kernel.CHUNK[device.type] = own
    for (name, size), ms in sides.items():
        rows.add("chunk", **about, side=name, logits=size, ms=ms, to_own=ms / sides.get((name, own[2]), ms))


def anatomy(rows: Rows, task: Task, until: Clock, most: int = 12) -> None:
    """Add a row for both heads: the microseconds that the device is busy, in all and for its longest operations."""
    if not until.left():
        return
    cuda = task.rows.device.type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if cuda else torch.profiler.ProfilerActivity.CPU
    for name, head in ((CE, "Softmax"), (CPR, "Softmax + CPR:100")):
        side = task.head(head, _ours)
        side()
        with torch.profiler.profile(activities=[activity]) as found:
            milliseconds(side, task.rows.device)
        took = {
            event.key[:80]: event.self_device_time_total if cuda else event.self_cpu_time_total
            for event in found.key_averages()
        }
        largest = sorted(took.items(), key=lambda item: -item[1])[:most]
        about = {"items": len(task.weight), "targets": len(task.rows), "precision": task.precision}
        rows.add("anatomy", **about, side=name, busy=sum(took.values()), parts=dict(largest))
