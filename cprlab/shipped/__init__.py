"""Files that are not code and come with cprlab: in a checkout at its top, in a wheel in this package."""

from pathlib import Path

from cprlab.errors import ConfigError
from cprlab.files import whole


def shipped(path: str) -> Path:
    """Return where a file or folder is that has this path in a checkout.

    Raises:
        ConfigError: it is not there.
    """
    here = Path(__file__).parent
    for found in (here / path, here.parents[1] / path):
        if found.exists():
            return found
    raise ConfigError(f"{path} does not come with this cprlab; reinstall it.")


def find_notebook(name: str) -> Path:
    """Return the path of a notebook, in whichever folder of `notebooks/` it is.

    Raises:
        ConfigError: there is no such notebook.
    """
    for notebook in shipped("notebooks").rglob(name):
        return notebook
    raise ConfigError(f"There is no notebook {name}.")


def copy_notebooks(folder: Path | str) -> Path:
    """Copy all notebooks to a new folder, and return it.

    Raises:
        CprlabError: the folder exists, or cannot be written.
    """
    folder, notebooks = Path(folder), shipped("notebooks")
    with whole(folder) as new:
        if folder.exists():
            raise ConfigError(f"{folder} exists; name a new folder.")
        for notebook in notebooks.rglob("*.ipynb"):
            copy = new / notebook.relative_to(notebooks)
            if not any(part.startswith(".") for part in copy.relative_to(new).parts):
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(notebook.read_bytes())
    return folder
