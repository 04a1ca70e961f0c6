"""run_explorer and run_case: the explorer as a live page, and one of its cases as a page on disk."""

import json
import secrets
import tempfile
from functools import partial
from pathlib import Path

import nbformat

from cprlab.catalogue import BUILTIN
from cprlab.catalogue.local import located
from cprlab.errors import DataError
from cprlab.explorer.explorer import CaseConfig, ExplorerConfig, opened
from cprlab.explorer.serve import address, check_port, serve
from cprlab.explorer.state import ExplorerState, Setting, attributes
from cprlab.files import refuse_unreadable
from cprlab.pages.run import parameterised, publish, refuse_to_overwrite

NOTEBOOK = "explorer.ipynb"


def run_explorer(config: ExplorerConfig, port: int, open_browser: bool) -> None:
    """Serve `explorer.ipynb` to this user only, at the printed address, until Ctrl-C.

    The models are opened or trained first, so that errors are reported here and not on the page.

    Args:
        config: what to open.
        port: port of this machine.
        open_browser: whether to show the page in the default browser.

    Raises:
        CprlabError: a parameter, a model, the data, the state or the port is not usable.
    """
    check_port(port)
    opened(config)
    with tempfile.TemporaryDirectory(prefix="cprlab-explorer-") as folder:
        notebook = Path(folder) / NOTEBOOK
        nbformat.write(parameterised(NOTEBOOK, _anywhere(config).model_dump()), notebook)
        token = secrets.token_hex(16)
        print(f"{address(port, token)} (Ctrl-C ends it)", flush=True)
        serve(notebook, port, open_browser, token)


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


def _anywhere(config: ExplorerConfig) -> ExplorerConfig:
    """Return the configuration with absolute paths, which do not depend on the working directory."""

    def absolute(path: str) -> str:
        return str(Path(path).absolute()) if path else ""

    data = config.data if config.data in BUILTIN else absolute(located(config.data))
    paths = {"data": data, "histories": absolute(config.histories), "runs": absolute(config.runs)}
    return config.but(models=tuple(map(absolute, config.models)), **paths)
