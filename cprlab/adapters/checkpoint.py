"""read_checkpoint: read a `.pth` file of another library without running any code from it.

`torch.load(weights_only=True)` refuses RecBole's files, because they use pickle protocol 4 and contain RecBole's own
classes. This reader is as safe: it builds only tensors, and replaces everything else that the file names by an inert
object.
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
from cprlab.files import refuse_bomb, refuse_unreadable


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Return the dictionary that `torch.save` wrote.

    Args:
        path: a file in the zip format (torch 1.6 and later).

    Returns:
        Tensors on the CPU, plain values, and `Inert` objects instead of all others.

    Raises:
        DataError: the file cannot be read, or does not contain a dictionary.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_bomb(archive)
            names = archive.namelist()
            root = next(name for name in names if name.endswith("/data.pkl"))[: -len("data.pkl")]
            if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
                raise ValueError("it was written on a big-endian machine")
            content = _Reader(archive, root).load()
    except Exception as error:  # a damaged or hostile pickle may raise any error; none of its code is run
        refuse_unreadable(Path(path), error)
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} cannot be read as a checkpoint written by torch.save ({detail}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} contains no dictionary, so it is not a training checkpoint.")
    return content


class Inert:
    """A placeholder for an object whose class or function is not run; it has the attributes stored in the file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        """Do nothing."""
        return Inert()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)


class _Reader(pickle.Unpickler):
    """An unpickler that builds tensors, dictionaries and `Inert` objects, and calls nothing else."""

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
        if key not in self._storages:  # several tensors may share a storage
            data = bytearray(self._archive.read(f"{self._root}data/{key}"))
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self._storages[key][:size]


def _refuse_large(pickled: bytes) -> None:
    """Raise a ValueError if a pickle is truncated, or reserves more memory than it can fill."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if "PUT" in opcode.name and (argument or 0) > len(pickled):
            raise ValueError(f"it reserves room for {argument:,} objects")


def _tensor(storage: torch.Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
    tensor = storage.as_strided(size, stride, offset)
    if tensor.numel() > storage.numel():
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has only {storage.numel():,} numbers stored")
    return tensor


_DTYPES = {
    f"{name}Storage": getattr(torch, name.lower())
    for name in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Bool")
} | {"CharStorage": torch.int8, "ByteStorage": torch.uint8}
