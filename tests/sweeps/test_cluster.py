"""Jobs on workers: of this machine, of a cluster started by hand, and of a Slurm that is two scripts."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL

import dask
import psutil
import pytest
import yaml

from cprlab.errors import ConfigError, CprlabError, DataError
from cprlab.sweeps.cluster import open_cluster
from cprlab.sweeps.work import run_all
from tests.jupyter import free_port, wait_for

SBATCH = """#!/bin/sh
cp "$1" "{folder}/$$.sh"  # as Slurm does: the file is gone once this has ended
setsid sh "{folder}/$$.sh" >> "{folder}/jobs.log" 2>&1 &
echo $! >> "{folder}/jobs"
echo "Submitted batch job $!"
"""
SCANCEL = '#!/bin/sh\necho "$1" >> "{folder}/cancelled"\nkill -- "-$1"\n'


@pytest.fixture(autouse=True)
def root(monkeypatch, slow):
    monkeypatch.chdir(Path(__file__).parent.parent.parent)  # where workers find the functions of this module


def pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def fail(error):
    raise error


def wait_until(true, seconds=180):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def pids(client, jobs=4):
    """Return the worker's process of each of some jobs, each long enough that no worker does all of them."""
    outcomes = run_all(client, [(pid_after, (0.5,))] * jobs, "pids")
    assert [outcome.error for outcome in outcomes] == [""] * jobs
    return {outcome.value for outcome in outcomes}


def test_jobs_come_back_in_order_and_what_fails_is_told(capfd, monkeypatch):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), open_cluster(2) as client:
        jobs: list[tuple[Callable, tuple]] = [
            (divmod, (7, 2)),
            (fail, (DataError("a.csv is empty."),)),
            (divmod, (7, 0)),
            (os._exit, (9,)),
            (divmod, (9, 2)),
        ]
        jobs += [(print, ("a bar",))]
        outcomes = run_all(client, jobs, "sums")
        workers = pids(client)  # the dead ones are started anew
    assert [outcome.value for outcome in outcomes] == [(3, 1), None, None, None, (4, 1), None]
    assert "MKL_NUM_THREADS" not in os.environ  # which the workers' had
    assert outcomes[1][1:] == ("a.csv is empty.", "DataError")
    assert outcomes[2].error.startswith("ZeroDivisionError: ")
    assert outcomes[3].kind == "KilledWorker"
    assert "was killed 2 times while it worked on this" in outcomes[3].error
    said = capfd.readouterr().err
    assert "sums: 100%" in said
    assert "6/6" in said
    assert "distributed" not in said  # the log of workers that come and go
    assert workers
    wait_until(lambda: not any(map(psutil.pid_exists, workers)))


def test_each_gpu_has_a_worker_of_its_own(monkeypatch):
    monkeypatch.setattr("cprlab.sweeps.cluster.open_device", lambda device: type("", (), {"type": "cuda"}))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with open_cluster(device="auto") as client:
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
    assert sorted(seen.values()) == ["4", "7"]


def test_a_running_cluster_of_two_workers_is_used_and_left_running():
    port = free_port()
    dask_command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    front = subprocess.Popen(
        [*dask_command, "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], stdout=DEVNULL, stderr=DEVNULL
    )
    address = f"tcp://127.0.0.1:{port}"
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    workers = [subprocess.Popen(worker, stdout=DEVNULL, stderr=DEVNULL) for _ in range(2)]
    try:
        wait_for(front, port)
        with open_cluster(scheduler=address) as client:
            wait_until(lambda: len(client.nthreads()) == 2)
            assert len(pids(client)) == 2
        with open_cluster(scheduler=address) as client:
            assert len(client.nthreads()) == 2
            front.send_signal(signal.SIGKILL)
            front.wait()
            with pytest.raises(CprlabError, match="The Dask scheduler is gone; start it and the sweep again"):
                run_all(client, [(pid_after, (60,))], "pids")
    finally:
        for process in (*workers, front):
            process.terminate()
        for process in (*workers, front):
            process.wait(timeout=60)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with a file for `--slurm`; `sbatch` runs a job on this machine, and notes its number in `jobs`."""
    for name, script in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(script.format(folder=tmp_path))
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    arguments = {"cores": 1, "memory": "2GB", "processes": 1, "interface": "lo", "death_timeout": 60, "n_workers": 2}
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(arguments | {"queue": "gpu", "walltime": "01:00:00"}))
    yield tmp_path
    for job in jobs(tmp_path):
        if alive(job):
            os.killpg(job, signal.SIGKILL)


def jobs(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "jobs").read_text().split()] if (folder / "jobs").exists() else []


def alive(job: int) -> bool:
    return any(os.getpgid(process.pid) == job for process in psutil.process_iter() if process.is_running())


def test_slurm_starts_jobs_replaces_one_that_is_lost_and_ends_all(slurm):
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}),
        open_cluster(slurm=str(slurm / "slurm.yaml")) as client,
    ):
        wait_until(lambda: len(client.nthreads()) == 2)
        assert len(jobs(slurm)) == len(pids(client)) == 2
        os.killpg(jobs(slurm)[0], signal.SIGKILL)
        wait_until(lambda: pids(client, 1) and len(jobs(slurm)) == 3 and len(client.nthreads()) == 2)
    assert {*map(str, jobs(slurm))} >= {*(slurm / "cancelled").read_text().split()}
    wait_until(lambda: not any(map(alive, jobs(slurm))))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cores: 1\nmemory: 2GB\n", "There is no sbatch on this machine"),
        ("cores: 1\n", "slurm.yaml does not say how much a job gets; add a line such as `memory: 16GB`"),
        ("memory: 2GB\n", "add a line such as `cores: 1`"),
        ("cores: 1\nmemory: 2GB\npartition: gpu\n", "no argument 'partition': did you mean 'queue'"),
    ],
)
def test_what_slurm_lacks_is_said_before_anything_starts(tmp_path, monkeypatch, text, said):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "slurm.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)), open_cluster(slurm=str(tmp_path / "slurm.yaml")):
        pass


def test_a_slurm_that_takes_no_job_is_told(slurm, caplog):
    (slurm / "bin" / "sbatch").write_text('#!/bin/sh\necho "invalid partition gpu" >&2\nexit 1\n')
    with (
        pytest.raises(CprlabError, match="A job could not be submitted"),
        open_cluster(slurm=str(slurm / "slurm.yaml")) as client,
    ):
        pids(client)
    assert "invalid partition gpu" in caplog.text


def test_jobs_end_when_the_sweep_is_killed(slurm):
    code = (
        "import sys\nfrom tests.sweeps.test_cluster import open_cluster, pid_after, run_all\n"
        "with open_cluster(slurm=sys.argv[1]) as client: run_all(client, [(pid_after, (999,))] * 2, '')"
    )
    sweep = subprocess.Popen([sys.executable, "-c", code, str(slurm / "slurm.yaml")], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(jobs(slurm)) == 2 and all(map(alive, jobs(slurm))))
        time.sleep(5)
    finally:
        sweep.kill()
        sweep.wait()
    wait_until(lambda: not any(map(alive, jobs(slurm))))
