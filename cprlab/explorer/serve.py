"""serve: a notebook as a live page for this user of this machine, by Voilà, without requests to other hosts."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from jupyter_core.paths import jupyter_path

from cprlab.errors import ConfigError

ADDRESS = "127.0.0.1"
TEMPLATES = Path(__file__).parent  # contains voila/templates/cprlab
# Voilà contains its own JupyterLab, which may not support other extensions; it chooses the widget manager itself.
DEPTHS = "*", "@*/*"  # of an extension's folder below JupyterLab's
EXTENSIONS = ("anywidget", "jupyterlab-plotly", "@jupyter-widgets/jupyterlab-manager")


def address(port: int, token: str) -> str:
    """Return the URL of the page."""
    return f"http://localhost:{port}/?token={token}"


def serve(
    notebook: Path, port: int, open_browser: bool, token: str, prepare: Callable[[], None] = lambda: None
) -> None:
    """Serve a notebook in the foreground, at `address(port, token)`, until Ctrl-C, and print the address then.

    Args:
        notebook: the `.ipynb` file; each visitor gets a kernel, which runs all its cells.
        port: port of this machine.
        open_browser: whether to show the page in the default browser.
        token: password of the page, which keeps out other users of this machine.
        prepare: called while the server starts, before its address is known; what it raises ends the server.

    Raises:
        ConfigError: the notebook does not exist, the port is in use, or Voilà ends with an error.
        ModuleNotFoundError: Voilà is not installed.
    """
    if not find_spec("voila"):
        raise ModuleNotFoundError("Voilà serves the explorer.", name="voila")
    if not notebook.is_file():
        raise ConfigError(f"There is no notebook {notebook}; name an .ipynb file.")
    check_port(port)
    options = [f"--port={port}", f"--Voila.ip={ADDRESS}", "--Voila.port_retries=0", "--template=cprlab"]
    options += [f"--VoilaConfiguration.extension_denylist={name}" for name in _installed() - set(EXTENSIONS)]
    # A closed page ends its kernel by a request without a token; requests from other origins are refused.
    options += ["--Voila.tornado_settings", "disable_check_xsrf=True"]
    if os.name == "posix":  # the kernel communicates through files that only this user can open
        options += ["--KernelManager.transport=ipc"]
    options += ["--Voila.log_level=ERROR", "--no-browser", "--Voila.auto_token=True"]
    paths = os.pathsep.join([str(TEMPLATES), *filter(None, [os.environ.get("JUPYTER_PATH")])])
    command = [sys.executable, "-m", "voila", str(notebook), *options]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, so that Voilà ends as well
    # Every user of the machine can read a command line, but only this user can read the environment.
    process = subprocess.Popen(command, env=os.environ | {"JUPYTER_PATH": paths, "JUPYTER_TOKEN": token})
    try:
        prepare()
        if _listens(process, port):
            url = address(port, token)
            print(f"{url} (Ctrl-C ends it)", flush=True)
            if open_browser:
                threading.Thread(target=_show, args=(process, url), daemon=True).start()
        code = process.wait()
    except KeyboardInterrupt:
        return
    finally:
        process.terminate()  # it then ends its kernels
        process.wait()
    if code:
        raise ConfigError(f"Voilà could not serve {notebook} and ended with code {code}; see its output above.")


def _installed() -> set[str]:
    """Return the names of JupyterLab's extensions; jupyterlab_server finds the same, but takes a second to import."""
    folders = map(Path, jupyter_path("labextensions"))
    found = [(folder, file) for folder in folders for depth in DEPTHS for file in folder.glob(f"{depth}/package.json")]
    return {file.parent.relative_to(folder).as_posix() for folder, file in found}


def _listens(process: subprocess.Popen, port: int) -> bool:
    """Wait until a process listens at a port; return False if it has ended."""
    while process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex((ADDRESS, port)) == 0:
                return True
        time.sleep(0.1)
    return False


def _show(process: subprocess.Popen, url: str) -> None:
    """Open a URL in the browser, through a file that redirects there and that others cannot read."""
    with tempfile.TemporaryDirectory(prefix="cprlab-explorer-") as folder:
        page = Path(folder) / "open.html"
        page.write_text(f'<meta http-equiv="refresh" content="0;url={url}">', encoding="utf-8")
        webbrowser.open(page.as_uri())
        process.wait()  # the browser may be slow to open the file


def check_port(port: int) -> None:
    """Raise a ConfigError if a port of this machine cannot be used."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just closed is free
        try:
            probe.bind((ADDRESS, port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"The port {port} cannot be used ({error}); choose another one.") from None
