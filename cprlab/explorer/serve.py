"""serve: a notebook as a page of widgets for this user of this machine, by Voilà, with no request to another host."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from pathlib import Path

from jupyter_core.paths import jupyter_path
from jupyterlab_server.config import get_federated_extensions

from cprlab.errors import ConfigError

ADDRESS = "127.0.0.1"
TEMPLATES = Path(__file__).parent  # holds voila/templates/cprlab
# Voilà brings a JupyterLab of its own, which other extensions may not fit; it chooses among widget managers itself.
EXTENSIONS = ("anywidget", "jupyterlab-plotly", "@jupyter-widgets/jupyterlab-manager")


def address(port: int, token: str) -> str:
    """Return where a page is served."""
    return f"http://localhost:{port}/?token={token}"


def serve(notebook: Path, port: int, open_browser: bool, token: str) -> None:
    """Serve a notebook in the foreground, at `address(port, token)`, until Ctrl-C.

    Args:
        notebook: the `.ipynb` file; each visitor has a kernel of their own, which runs all its cells.
        port: where to listen.
        open_browser: whether to show the page in the default browser.
        token: who does not know it, such as another user of this machine, is turned away.

    Raises:
        ConfigError: there is no such notebook, the port is taken, or Voilà ends with an error.
    """
    if not notebook.is_file():
        raise ConfigError(f"There is no notebook {notebook}; name an .ipynb file.")
    check_port(port)
    denied = [name for name in get_federated_extensions(jupyter_path("labextensions")) if name not in EXTENSIONS]
    options = [f"--port={port}", f"--Voila.ip={ADDRESS}", "--Voila.port_retries=0", "--template=cprlab"]
    options += [f"--VoilaConfiguration.extension_denylist={name}" for name in denied]
    # A page that is left ends its kernel by a request without a token; one from another host is refused by its origin.
    options += ["--Voila.tornado_settings={'disable_check_xsrf': True}"]
    if os.name == "posix":  # a kernel is then talked to through files that only this user can open
        options += ["--KernelManager.transport=ipc"]
    options += ["--Voila.log_level=ERROR", "--no-browser", "--Voila.auto_token=True"]
    paths = os.pathsep.join([str(TEMPLATES), *filter(None, [os.environ.get("JUPYTER_PATH")])])
    command = [sys.executable, "-m", "voila", str(notebook), *options]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end, as by Ctrl-C: Voilà has to end as well
    # A command line can be read by every user of the machine, and the environment by this one alone.
    process = subprocess.Popen(command, env=os.environ | {"JUPYTER_PATH": paths, "JUPYTER_TOKEN": token})
    if open_browser:
        threading.Thread(target=_show, args=(process, port, address(port, token)), daemon=True).start()
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()  # it then ends its kernels
        process.wait()
        return
    if code:
        raise ConfigError(f"Voilà could not serve {notebook} and ended with code {code}; its own words stand above.")


def _show(process: subprocess.Popen, port: int, url: str) -> None:
    """Show an address in the browser once it is served, by a file that leads there and that others cannot read."""
    while process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex((ADDRESS, port)) == 0:
                break
        time.sleep(0.2)
    with tempfile.TemporaryDirectory(prefix="cprlab-explorer-") as folder:
        page = Path(folder) / "open.html"
        page.write_text(f'<meta http-equiv="refresh" content="0;url={url}">', encoding="utf-8")
        webbrowser.open(page.as_uri())
        process.wait()  # the browser may take its time


def check_port(port: int) -> None:
    """Raise a ConfigError if nobody can listen at a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what was just closed is free
        try:
            probe.bind((ADDRESS, port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"The port {port} cannot be used ({error}); choose another one.") from None
