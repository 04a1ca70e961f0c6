"""The memory of a process, as Linux counts it. Standard library only, since RecBole's environment imports it too."""

from pathlib import Path


def forget_peak() -> None:
    """Reset the peak memory of this process."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Return the peak memory of this process in MB; `getrusage` would give its parent's peak if that is larger."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
