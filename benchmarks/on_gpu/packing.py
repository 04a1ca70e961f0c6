"""Pack the files that are carried to a machine with a GPU and no network."""

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from cprlab.data import save_prepared
from cprlab.data.splits import SplitBy
from cprlab.files import make_folder
from cprlab.loading import load_sequences

# What `--pack` downloads: small rivals, and requirements of this project that a machine with torch may not have.
WHEELS = ["cut-cross-entropy", "liger-kernel"]  # QuACK needs nvidia-cutlass-dsl-libs-cu13 (92 MB) and others
NEEDED = ["pydantic", "pydantic-core", "annotated-types", "typing-inspection", "duckdb", "lightning-fabric"]
NEEDED += ["lightning-utilities", "httpx"]
PLATFORMS = [f"manylinux_2_{version}_x86_64" for version in (28, 27, 24, 17, 5)] + ["manylinux2014_x86_64"]


def pack(folder: Path, data: list[str], split: SplitBy, python: str) -> None:
    """Write prepared logs, this project's metadata, and wheels for a Python version such as "3.12".

    Raises:
        DataError: a log is missing, or the folder cannot be written.
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
    installed = Path(str(metadata.distribution("cprlab").locate_file("")))  # a run's record has the version
    for information in installed.glob("cprlab-*.dist-info"):
        shutil.copytree(information, folder / "site" / information.name, dirs_exist_ok=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
