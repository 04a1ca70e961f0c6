"""run_explorer and run_case: the explorer as a live page, and one of its cases as a page on disk."""

import json
import pickle
import secrets
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from cprlab.errors import DataError
from cprlab.explorer.app import App
from cprlab.explorer.explorer import CaseConfig, Explorer, ExplorerConfig
from cprlab.explorer.state import ExplorerState, Setting, attributes
from cprlab.files import refuse_unreadable

NOTEBOOK = {  # which Voilà runs
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "explorer",
            "metadata": {},
            "outputs": [],
            "source": "from cprlab.explorer.run import received\n\nreceived()",
        }
    ],
    "metadata": {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "title": "cprlab",
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}
OPENED = "opened.pickle"  # written here for kernels of our own, in a folder that only this user can open


def run_explorer(config: ExplorerConfig, port: int, open_browser: bool) -> None:
    """Serve the explorer to this user only, at the printed address, until Ctrl-C.

    The models are opened or trained here, while the server starts, so that errors are reported here and not on the
    page; the kernel of each visitor gets them as they were opened.

    Args:
        config: what to open.
        port: port of this machine.
        open_browser: whether to show the page in the default browser.

    Raises:
        CprlabError: a parameter, a model, the data, the state or the port is not usable.
    """
    from cprlab.explorer.serve import check_port, serve  # they need an extra, which a page does not

    check_port(port)
    with tempfile.TemporaryDirectory(prefix="cprlab-explorer-") as folder:
        notebook = Path(folder) / "explorer.ipynb"
        notebook.write_text(json.dumps(NOTEBOOK), encoding="utf-8")
        serve(notebook, port, open_browser, secrets.token_hex(16), partial(_open, config, Path(folder) / OPENED))


def _open(config: ExplorerConfig, path: Path) -> None:
    """Open a configuration's models, check that its state can be shown, and write both for `received`."""
    subjects = config.subjects(facet="V")
    given = [replace(subject, validation=None, run=None, sequences=None) for subject in subjects], config.state
    data = Path(config.data).name
    Explorer(*given, data)
    path.write_bytes(pickle.dumps((*given, data)))


def received() -> App:
    """Return the explorer of the models that `run_explorer` opened; Voilà runs the notebook in its own folder."""
    return App(Explorer(*pickle.loads(Path(OPENED).read_bytes())))  # noqa: S301  # of this process's parent


def run_case(config: CaseConfig, out: Path | str = "") -> Path:
    """Execute `case.ipynb` and write `index.html`, `case.json` and `report.ipynb`; as `run_report`.

    Args:
        config: what to show.
        out: the page's folder; if empty, `reports/case-`, the name of the first model or the data, and the case, if the
            state names one.

    Returns:
        The path of `index.html`.

    Raises:
        CprlabError: a parameter, a model, the data, the state or the place is not usable.
    """
    from cprlab.pages.run import publish, refuse_to_overwrite  # takes a second

    case = attributes(config.state).get("case", "") if config.state else ""
    out = Path(out or Path("reports") / f"case-{config.stem}-{case}".removesuffix("-"))
    title = f"cprlab: a case of {'; '.join(config.models) or config.data}"
    return publish("case.ipynb", config, out, title, partial(refuse_to_overwrite, out, config, "case.json"))


def at_case(config: CaseConfig, case: int | None) -> CaseConfig:
    """Return the configuration of `cprlab case` with its state read.

    Args:
        config: what was given; a state that is none, but a model, is put before the models.
        case: the case to show instead of the state's, with its own history; None for the state's.

    Raises:
        CprlabError: as `read_state`.
    """
    if config.state and not config.state.endswith(".json") and not config.state.lstrip().startswith("{"):
        config = config.but(state="", models=(config.state, *config.models))
    state = read_state(config.state)
    known = attributes(state) if state else {}
    if case not in (None, known.get("case")):
        state = read_state(json.dumps(known | {"case": case, "history": None, "pinned": None}))
    return config.but(state=state)


def read_state(text: str) -> str:
    """Return a state as a line of JSON, from JSON or from the path of a `.json` file; "" stays "".

    Raises:
        CprlabError: the file cannot be read, or it is not a state. One that names no models is checked once they are
            known, but for its case.
    """
    if text.endswith(".json"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            refuse_unreadable(Path(text), error)
            raise DataError(f"The state {text} cannot be read ({error}); name the file that was saved.") from None
    if not text:
        return ""
    values = attributes(text)
    if "models" in values:
        return ExplorerState.from_json(text).to_json()
    ExplorerState(models=("",), settings=(Setting(),), case=values.get("case", 0))
    return json.dumps(values)
