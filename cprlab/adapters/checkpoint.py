"""read_checkpoint: what a foreign `.pth` file holds, read without running any code from it.

`torch.load(weights_only=True)` refuses RecBole's files: they are written in pickle protocol 4, and hold RecBole's own
classes. The same rule is kept here: only tensors are built, and whatever else the file names becomes an inert object.
"""

import collections
import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch

from cprlab.errors import DataError
from cprlab.files import refuse_bomb


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Return the dictionary that `torch.save` wrote.

    Args:
        path: a file in the zip format (torch 1.6 and later).

    Returns:
        Tensors on the CPU, plain values, and `Inert` objects in the place of all others.

    Raises:
        DataError: the file cannot be read, or holds no dictionary.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_bomb(archive)
            names = archive.namelist()
            root = next(name for name in names if name.endswith("/data.pkl"))[: -len("data.pkl")]
            if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
                raise ValueError("it was written on a big-endian machine")
            content = _Reader(archive, root).load()
    except Exception as error:  # a damaged or hostile pickle raises whatever it likes; nothing of it is run
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} cannot be read as a checkpoint written by torch.save ({detail}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no dictionary, so it is no checkpoint of a training.")
    return content


class Inert:
    """Stands for an object of a class or function that is not run; has the attributes that the file gives it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        """Do nothing."""
        return Inert()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)


class _Reader(pickle.Unpickler):
    """Builds tensors, dictionaries and `Inert` objects, and calls nothing else."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        pickled = archive.read(f"{root}data.pkl")
        _refuse_large(pickled)
        super().__init__(io.BytesIO(pickled), encoding="utf-8")
        self._archive, self._root = archive, root
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name.endswith("Storage"):
            return _DTYPES[name]
        return Inert

    def persistent_load(self, pid: tuple) -> torch.Tensor:
        _, dtype, key, _, size = pid
        if key not in self._storages:  # many tensors may share one
            data = bytearray(self._archive.read(f"{self._root}data/{key}"))
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self._storages[key][:size]


def _refuse_large(pickled: bytes) -> None:
    """Raise a ValueError if a pickle is cut off, or reserves more room than it can fill."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if "PUT" in opcode.name and argument > len(pickled):
            raise ValueError(f"it reserves room for {argument:,} objects")


def _tensor(storage: torch.Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
    tensor = storage.as_strided(size, stride, offset)
    if tensor.numel() > storage.numel():
        raise ValueError(f"a tensor of the shape {tuple(tensor.shape)} is to be read of {storage.numel():,} numbers")
    return tensor


_DTYPES = {
    f"{name}Storage": getattr(torch, name.lower())
    for name in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Bool")
} | {"CharStorage": torch.int8, "ByteStorage": torch.uint8}
