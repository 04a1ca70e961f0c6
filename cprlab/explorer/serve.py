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
from pathlib import Path

from jupyter_core.paths import jupyter_path
from jupyterlab_server.config import get_federated_extensions

from cprlab.errors import ConfigError

ADDRESS = "127.0.0.1"
TEMPLATES = Path(__file__).parent  # contains voila/templates/cprlab
# Voilà contains its own JupyterLab, which may not support other extensions; it chooses the widget manager itself.
EXTENSIONS = ("anywidget", "jupyterlab-plotly", "@jupyter-widgets/jupyterlab-manager")


def address(port: int, token: str) -> str:
    """Return the URL of the page."""
    return f"http://localhost:{port}/?token={token}"


def serve(notebook: Path, port: int, open_browser: bool, token: str) -> None:
    """Serve a notebook in the foreground, at `address(port, token)`, until Ctrl-C.

    Args:
        notebook: the `.ipynb` file; each visitor gets a kernel, which runs all its cells.
        port: port of this machine.
        open_browser: whether to show the page in the default browser.
        token: password of the page, which keeps out other users of this machine.

    Raises:
        ConfigError: the notebook does not exist, the port is in use, or Voilà ends with an error.
    """
    if not notebook.is_file():
        raise ConfigError(f"There is no notebook {notebook}; name an .ipynb file.")
    check_port(port)
    denied = [name for name in get_federated_extensions(jupyter_path("labextensions")) if name not in EXTENSIONS]
    options = [f"--port={port}", f"--Voila.ip={ADDRESS}", "--Voila.port_retries=0", "--template=cprlab"]
    options += [f"--VoilaConfiguration.extension_denylist={name}" for name in denied]
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
    if open_browser:
        threading.Thread(target=_show, args=(process, port, address(port, token)), daemon=True).start()
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()  # it then ends its kernels
        process.wait()
        return
    if code:
        raise ConfigError(f"Voilà could not serve {notebook} and ended with code {code}; see its output above.")


def _show(process: subprocess.Popen, port: int, url: str) -> None:
    """Open a URL in the browser when it is served, through a file that redirects there and that others cannot read."""
    while process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex((ADDRESS, port)) == 0:
                break
        time.sleep(0.2)
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
