"""What a GPU shows in a few minutes: is the kernel right there, is it fast, and what do trainings come to?

    PYTHONPATH=. python benchmarks/gpu.py --pack carried --data ml-1m.parquet --python 3.12  # before, with a network
    python -m pip install --no-index --no-deps --target site carried/wheels/*.whl  # and the rest there
    PYTHONPATH=.:site:carried/site python benchmarks/gpu.py --out measured --minutes 12 --jobs jobs.yaml

Each row is written to OUT/rows.jsonl as soon as it is known, and each run to OUT/runs as soon as it is whole, so what
is cut off keeps what it has. First the heads against float64, then the loss against other exact ones (`RIVALS`, those
that are there), in turns in one process, then trainings side by side until the time is over. Ends with 1 where the
kernel is wrong. A job is what `Job` holds:

    - {log: carried/logs/ml-1m, head: "Softmax + CPR:100 + Mi", max_len: 200, training: {seed: 1}}
"""

import copy
import json
import multiprocessing
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import pydantic
import torch
import typer
import yaml
from torch.nn import functional as F

from cprlab.config import Config
from cprlab.data import save_prepared
from cprlab.data.splits import SplitBy
from cprlab.errors import ConfigError, CprlabError
from cprlab.files import make_folder, whole
from cprlab.loading import load_sequences
from cprlab.models import Context, EncoderConfig, GRU4RecConfig, Outputs, Recommender, SoftmaxConfig, parse_head
from cprlab.models.heads import PartitionedSoftmax
from cprlab.training import RunConfig, TrainingConfig, fused, kernel, train
from cprlab.training.loss import CrossEntropy

D, LENGTH = 64, 64
HEADS = ["Softmax", "Softmax + Mi", "Softmax + B", "Softmax + F", "Softmax + C", "Softmax + CP", "Softmax + R:100"]
HEADS += ["Softmax + CPR:100 + Mi", "MoS:3", "Softmax (similarity=cosine)"]
CATALOGUE = 9_001  # items of the heads that are checked: two of Triton's blocks and a bit
WITHIN = 1e-5  # relative; of a gradient, to its largest entry

CE, CPR, EAGER_CPR = "ours", "ours, CPR:100", "eager, CPR:100"
TARGETS = {13_000: 16_384, 100_000: 8_192, 1_000_000: 2_048}  # by items; eager has some 50 GB of logits at the most
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EXACT = {"float32": 1e-4, "bfloat16": 2e-2}  # as WITHIN, of the sides of a race; what multiplies in TF32 is not float32
CHUNKS = tuple(2**power for power in (23, 24, 26, 27, 29))  # logits at once, beside `kernel.CHUNK`'s own
GOAL = 1.3  # times the fastest exact cross-entropy
ROUNDS = 7
PATIENCE = 60  # seconds until a side must have compiled and run
SPARE = 15  # seconds at the end, for what is still to be written

# What `--pack` takes along: rivals that are small, and what this project needs and a machine with torch may not have.
WHEELS = ["cut-cross-entropy", "liger-kernel"]  # QuACK needs nvidia-cutlass-dsl-libs-cu13, of 92 MB, and others
NEEDED = ["pydantic", "pydantic-core", "annotated-types", "typing-inspection", "duckdb", "lightning-fabric"]
NEEDED += ["lightning-utilities", "httpx"]
PLATFORMS = [f"manylinux_2_{version}_x86_64" for version in (28, 27, 24, 17, 5)] + ["manylinux2014_x86_64"]


@dataclass
class Clock:
    """How much of the time that was asked for is left."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Return seconds, 0 when the time is over."""
        return max(0.0, self.began + self.seconds - time.monotonic())


class Rows:
    """JSON lines, each written as soon as it is known, and whether any tells of something wrong."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.file, self.wrong = folder / "rows.jsonl", False

    def add(self, part: str, **values: Any) -> None:
        """Write a row, and show it."""
        self.wrong |= values.get("right") is False
        line = json.dumps({"part": part} | values)
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)

    @contextmanager
    def going_on(self, part: str, **values: Any) -> Iterator[None]:
        """Write a row of whatever goes wrong in the block, and go on behind it: a GPU's minutes are few."""
        try:
            yield
        except Exception as error:
            self.add(part, **values, said=_sentence(error), right=False)


# --- Is it right? ---------------------------------------------------------------------------------------------------


def check(head: str, device: torch.device, n_items: int = CATALOGUE, dtype: torch.dtype = torch.float32) -> dict:
    """Return how far a head's loss and gradients from the kernel are from those of dense logits in float64."""
    torch.manual_seed(0)
    recommender = Recommender(GRU4RecConfig(d=D, hidden=D), parse_head(head), n_items)
    items, targets = torch.randint(max(2, n_items // 100), (4, 16)), torch.randint(n_items, (4, 16))
    at = torch.arange(16).expand(4, -1)
    facets = {name: facet.detach() * 5 for name, facet in recommender(items, at).items()}
    (value, grads), (dense_value, dense_grads) = (
        _differentiated(copy.deepcopy(recommender), facets, items, at, targets, device, kind, dense)
        for kind, dense in ((dtype, False), (torch.float64, True))
    )
    apart = [_largest(grad - dense) for grad, dense in zip(grads, dense_grads, strict=True)]
    sizes = [_largest(dense) for dense in dense_grads]
    relative = [off / max(size, 1e-5 * max(sizes)) for off, size in zip(apart, sizes, strict=True)]
    row = {
        "loss_off": abs(value - dense_value),
        "loss_off_relative": abs(value / dense_value - 1),
        "gradient_off": _worst(apart),
        "gradient_off_relative": _worst(relative),
    }
    return row | {"right": _worst([row["loss_off_relative"], row["gradient_off_relative"]]) < WITHIN}


def _differentiated(
    recommender: Recommender,
    facets: dict[str, torch.Tensor],
    items: torch.Tensor,
    at: torch.Tensor,
    targets: torch.Tensor,
    device: torch.device,
    dtype: torch.dtype,
    dense: bool,
) -> tuple[float, list[torch.Tensor]]:
    """Return the summed loss, and its gradients by the facets and the output embeddings, as float64 on the CPU."""
    recommender.to(device, dtype)
    leaves = {name: facet.to(device, dtype).requires_grad_() for name, facet in facets.items()}
    weight = (recommender.output_embedding or recommender.embedding).weight
    context, targets, loss = (
        Context(items.to(device), at.to(device), recommender.n_items),
        targets.to(device),
        CrossEntropy(),
    )
    if dense:
        log_p = recommender.distribution(leaves, context)
        value = F.nll_loss(log_p.flatten(0, 1), targets.flatten(), reduction="sum")
    else:
        drawn = loss.draw(targets)
        value = kernel.chunked(loss, recommender.head, leaves, recommender.outputs, context, targets, drawn)
    grads = torch.autograd.grad(value, [*leaves.values(), weight], materialize_grads=True)
    return float(value.detach()), [grad.cpu().double() for grad in grads]


def check_softmax(device: torch.device, n: int = 2 * CATALOGUE) -> dict:
    """Return how far the kernel's softmax is from float64's on logits of every size, −inf among them."""
    z = torch.randn(6, n, generator=torch.Generator().manual_seed(0)) * 20
    z[1, : n // 2] = z[2, 1:] = -torch.inf
    z[3, 7], z[4, -1] = 1e4, -1e4
    z[5] *= 500
    expected = z.double()
    there = z.to(device)
    norms, weigh = kernel.softmax_(there)
    weigh(torch.ones_like(norms))
    off = _worst(
        [_largest(norms.cpu() / expected.logsumexp(1) - 1), _largest(there.cpu().double() - expected.softmax(1))]
    )
    return {"off_relative": off, "right": off < WITHIN}


def _largest(tensor: torch.Tensor) -> float:
    return float(tensor.abs().max())


def _worst(errors: list[float]) -> float:
    """Return the largest, NaN where one is; Python's `max` may overlook it."""
    return float(np.max(errors))


# --- Is it fast? ----------------------------------------------------------------------------------------------------

# Gives the loss and its gradients by (N, d) rows and (V, d) weights.
Side = Callable[[], Any]


@dataclass(frozen=True)
class Task:
    """N rows with a target each among V items; of bfloat16 numbers for both precisions, so that both have one answer.

    Attributes:
        rows: (N, d) float32.
        weight: (V, d) float32.
        targets: (N,) int64.
        precision: what the products are to be in.
    """

    rows: torch.Tensor
    weight: torch.Tensor
    targets: torch.Tensor
    precision: str

    @classmethod
    def draw(cls, n_items: int, n_targets: int, precision: str, device: torch.device) -> "Task":
        """Return one whose rows are whole windows of LENGTH."""
        generator = torch.Generator(device).manual_seed(0)
        rows = torch.randn(n_targets, D, generator=generator, device=device)
        weight = torch.randn(n_items, D, generator=generator, device=device) * 0.1
        targets = torch.randint(n_items, (n_targets,), generator=generator, device=device)
        return cls(rows.bfloat16().float(), weight.bfloat16().float(), targets, precision)

    def autocast(self) -> torch.autocast:
        """Let products be of the precision, as training does."""
        return torch.autocast(self.rows.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def of(self, loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor], low: bool = False) -> Side:
        """Return a side from its summed loss; `low` gives it rows and weights that are of the precision themselves."""
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
        """Return the side of a head, whose vocabulary's facets are the rows and whose other facets are random."""
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
    """Return PyTorch's summed cross-entropy of all logits at once."""
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
    return task.of(partial(loss, reduction="sum", filter_eps=None), low=True)  # no gradient is taken for zero


def _liger(task: Task, larger: int = 1) -> Side:
    function = import_module("liger_kernel.ops.fused_linear_cross_entropy").LigerFusedLinearCrossEntropyFunction

    def loss(rows: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        # No bias, weights of items, smoothing or cap; sums in float32; nothing else returned; its own cross-entropy.
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
    "Liger, larger chunks": partial(_liger, larger=64),  # its own have N · d logits, which is few for a small d
    "QuACK": _quack,
}


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise a TimeoutError in the block when it takes longer; what compiles may take minutes."""

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
    """Yield each side by its name, compiled and warm, with its peak memory and its errors; or why there is none."""
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
                errors = [_largest(grad - true) / _largest(true) for grad, true in zip(of_side, grads, strict=True)]
                row["gradient_error"] = _worst(errors)
                row["exact"] = _worst([row["loss_error"], *errors]) < EXACT[task.precision]
            yield name, (side, row)
        except (ImportError, AttributeError) as error:
            yield name, f"not here ({_sentence(error)})"
        except Exception as error:  # of whatever kind: it is another's
            yield name, _sentence(error)
        finally:
            found = of_side = side = None  # type: ignore[assignment]
            if task.rows.device.type == "cuda":
                torch.cuda.empty_cache()


def race(rows: Rows, task: Task, until: Clock, rivals: dict[str, Callable[[Task], Side]] = RIVALS) -> None:
    """Add a row for each side: the median of its rounds, of ours relative to it, and how exact it is."""
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
    """Return each side's milliseconds, all in turns; fewer rounds, but one, when the time is over."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(repeats):
        if number and not until.left():
            break
        for name, side in sides.items():
            times[name].append(milliseconds(side, device))
    return times


def milliseconds(side: Side, device: torch.device) -> float:
    """Return how long the device takes, by its own events, or on a processor the clock."""
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
    """Add a row for each number of logits that the kernel might hold at once: how long both heads take with it."""
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


def anatomy(rows: Rows, task: Task, most: int = 12) -> None:
    """Add a row for both heads: how many microseconds the device is busy, and with what the most."""
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


# --- What do trainings come to? -------------------------------------------------------------------------------------


class Job(Config):
    """A training.

    Attributes:
        log: a prepared folder, or what else `load_sequences` takes.
        split: that of the log.
        max_len: how many items a model reads; 0 leaves that to the log.
        encoder: as in `RunConfig`, and so are the others.
    """

    log: str
    split: SplitBy = "leave-one-out"
    max_len: int = pydantic.Field(0, ge=0)
    encoder: EncoderConfig = GRU4RecConfig()
    head: str = "Softmax"
    training: TrainingConfig = TrainingConfig()

    @property
    def config(self) -> RunConfig:
        """What is asked of `train`."""
        return RunConfig(encoder=self.encoder, head=self.head, training=self.training)


def read_jobs(path: Path) -> list[Job]:
    """Return the jobs of a file of YAML or JSON.

    Raises:
        ConfigError: it is no list of jobs.
    """
    try:
        listed = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as jobs: {_sentence(error)}.") from None
    if not isinstance(listed, list) or not all(isinstance(job, dict) for job in listed):
        raise ConfigError(f"{path} must be a list of jobs, each with a log.")
    jobs = [Job(**job) for job in listed]
    for job in jobs:
        _ = job.config  # a head that there is not is refused before anything is measured
    return jobs


def train_side_by_side(
    rows: Rows, jobs: list[Job], out: Path, until: Clock, device: str = "cuda", parallel: int = 16
) -> None:
    """Train, and copy each finished run to `out`; when the time is over, what is still at work is ended."""
    context, waiting = multiprocessing.get_context("spawn"), list(enumerate(jobs))
    with TemporaryDirectory() as scratch:
        at_work: dict[int, tuple[Any, float]] = {}
        while (waiting or at_work) and until.left():
            while waiting and len(at_work) < parallel:
                number, job = waiting.pop(0)
                process = context.Process(target=_train, args=(job, Path(scratch), number, device), daemon=True)
                process.start()
                at_work[number] = process, time.monotonic()
            for number in [number for number, (process, _) in at_work.items() if not process.is_alive()]:
                began = at_work.pop(number)[1]
                told = (
                    json.loads(_told(Path(scratch), number).read_text())
                    if _told(Path(scratch), number).exists()
                    else {}
                )
                if "folder" in told:
                    with whole(out / Path(told["folder"]).name) as new:
                        shutil.copytree(told["folder"], new)
                    told["folder"] = Path(told["folder"]).name
                told = told or {"said": "its process ended"}
                rows.add("training", job=jobs[number].model_dump(), seconds=time.monotonic() - began, **told)
            time.sleep(0.1)
        for process, _ in at_work.values():
            process.kill()
        for number, (process, began) in at_work.items():
            process.join()
            rows.add("training", job=jobs[number].model_dump(), seconds=time.monotonic() - began, said="no time")
        for _, job in waiting:
            rows.add("training", job=job.model_dump(), seconds=0.0, said="no time")


def _train(job: Job, scratch: Path, number: int, device: Any) -> None:
    """Train in a process of its own, and write what came of it."""
    torch.set_num_threads(1)
    try:
        sequences = load_sequences(job.log, split=job.split, max_len=job.max_len)
        run = train(sequences, job.config, scratch / "runs", device)
        told = {"folder": str(run.folder), "epochs": len(run.history), "test": run.record["test"]}
    except CprlabError as error:
        told = {"said": str(error)}
    with whole(_told(scratch, number)) as file:
        file.write_text(json.dumps(told), encoding="utf-8")


def _told(scratch: Path, number: int) -> Path:
    return scratch / f"{number}.json"


# --- What is carried there ------------------------------------------------------------------------------------------


def pack(folder: Path, data: list[str], split: SplitBy, python: str) -> None:
    """Write prepared logs, this project's metadata, and the wheels for a machine with another Python.

    Raises:
        DataError: a log is not there, or the folder cannot be written.
    """
    for source in data:
        save_prepared(load_sequences(source, split=split), folder / "logs" / Path(source).stem)
    wheels = folder / "wheels"
    make_folder(wheels)
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    for wheel in [*WHEELS, *(f"{name}=={metadata.version(name)}" for name in NEEDED)]:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", python, "--implementation", "cp", *platforms, "--dest", str(wheels), wheel]
        before, done = _size(wheels), subprocess.run(command, check=False, capture_output=True, text=True)
        said = f"{(_size(wheels) - before) / 2**20:.1f} MB" if done.returncode == 0 else done.stderr.strip()[-200:]
        print(f"{wheel}: {said}", flush=True)
    installed = Path(str(metadata.distribution("cprlab").locate_file("")))  # a run's record tells the version
    for information in installed.glob("cprlab-*.dist-info"):
        shutil.copytree(information, folder / "site" / information.name, dirs_exist_ok=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _sentence(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def measure(
    rows: Rows,
    device: torch.device,
    clock: Clock,
    jobs: list[Job],
    sizes: dict[int, int] = TARGETS,
    heads: Sequence[str] = HEADS,
    parallel: int = 16,
) -> None:
    """Check, race, and train, in this order; where there are trainings the races end at half of the time."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a processor"
    usable = fused.usable(device)
    rows.add("device", name=name, torch=torch.__version__, triton=usable, right=usable or device.type == "cpu")
    with rows.going_on("correct", head="softmax in place"):
        rows.add("correct", head="softmax in place", **check_softmax(device))
    for head in heads:
        with rows.going_on("correct", head=head):
            rows.add("correct", head=head, **check(head, device))
    races = Clock((clock.left() - SPARE) / (2 if jobs else 1))
    for n_items, n_targets in sizes.items():
        for precision in DTYPES:
            if not races.left():
                break
            with rows.going_on("speed", items=n_items, targets=n_targets, precision=precision):
                task = Task.draw(n_items, n_targets, precision, device)
                race(rows, task, races)
                chunk_sizes(rows, task, races)
                anatomy(rows, task)
    if jobs:
        train_side_by_side(rows, jobs, rows.file.parent / "runs", Clock(clock.left() - SPARE), device.type, parallel)


def main(
    out: Annotated[Path, typer.Option(help="The folder of rows.jsonl and runs.")] = Path("measured"),
    jobs: Annotated[Path | None, typer.Option(help="A list of trainings, YAML or JSON.")] = None,
    minutes: Annotated[float, typer.Option(help="How long this may take.", min=0.0)] = 12.0,
    parallel: Annotated[int, typer.Option(help="Trainings at once.", min=1)] = 16,
    packed: Annotated[Path | None, typer.Option("--pack", help="Write here what is to be carried, and end.")] = None,
    data: Annotated[list[str], typer.Option(help="A log to pack; repeat for more.")] = [],  # noqa: B006
    split: Annotated[SplitBy, typer.Option(help="Of the logs that are packed.")] = "leave-one-out",
    python: Annotated[str, typer.Option(help="The Python that the wheels are for.")] = "3.12",
) -> None:
    """Measure on a GPU, or pack what that needs."""
    clock = Clock(60 * minutes)
    try:
        if packed is not None:
            pack(packed, data, split, python)
            return
        listed = read_jobs(jobs) if jobs else []
        if not torch.cuda.is_available():
            raise ConfigError("There is no GPU here; run this where torch sees one.")
        rows = Rows(out)
        measure(rows, torch.device("cuda"), clock, listed, parallel=parallel)
    except CprlabError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    raise typer.Exit(int(rows.wrong))


if __name__ == "__main__":
    typer.run(main)
