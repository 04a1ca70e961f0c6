"""JupyterLab and Voilà, started as a user would, on notebooks in a folder of their own."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Page, TimeoutError

SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # all cells are drawn, seen or not
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
PATIENCE = 240  # seconds; a busy machine starts a server in more than a minute
PROMPTS = """() => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map((one) => one.textContent);
    return prompts.length > 0 && !prompts.some((text) => text.includes('*')) && prompts;
}"""
SERVE = "import sys; from pathlib import Path; from cprlab.explorer.serve import serve; "
SERVE += "serve(Path(sys.argv[1]), int(sys.argv[2]), False, 'for-the-test')"


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """Start JupyterLab on `folder / "notebooks"`; give an address with {} for a notebook's name."""
    for plugin, values in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    port, token = free_port(), "for-the-test"
    command = [str(Path(sys.executable).with_name("jupyter")), "lab", "notebooks", "--no-browser", "--allow-root"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    environment = {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }
    with _started(command, port, folder, environment):
        yield f"http://localhost:{port}/lab/tree/{{}}?token={token}"


@contextmanager
def voila(notebook: Path) -> Iterator[str]:
    """Serve a notebook by `cprlab.explorer.serve`; give its address."""
    port = free_port()
    with _started([sys.executable, "-c", SERVE, str(notebook), str(port)], port, notebook.parent, {}):
        yield f"http://localhost:{port}/?token=for-the-test"


@contextmanager
def _started(command: list[str], port: int, folder: Path, environment: dict) -> Iterator[None]:
    """Run a server until it is asked to stop, or made to."""
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=os.environ | environment, stdout=log, stderr=log)
        try:
            wait_for(server, port)
            yield
        finally:
            server.terminate()
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for(server: subprocess.Popen, port: int) -> None:
    """Wait until a server listens at its port."""
    end = time.monotonic() + PATIENCE
    while not listening(port):
        assert server.poll() is None, "the server has ended"
        assert time.monotonic() < end, "the server does not listen"
        time.sleep(0.2)


def listening(port: int, address: str = "127.0.0.1") -> bool:
    """Return whether somebody listens at a port of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        return client.connect_ex((address, port)) == 0


def run_all(page: Page) -> None:
    """Run all cells of the notebook that JupyterLab shows; it drops those that come before its kernel is connected."""
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=1000 * PATIENCE)
    prompts: list[str] = []
    for _ in range(5):  # the menu may not listen yet
        for accept in page.locator(".jp-Dialog .jp-mod-accept").all():
            accept.click()  # a slow machine is asked which kernel to take, and told that a connection was slow
        with suppress(TimeoutError):
            page.get_by_role("menuitem", name="Run").first.click(timeout=5_000)
            page.get_by_text("Run All Cells", exact=True).first.click(timeout=5_000)
            page.wait_for_timeout(1_000)
            prompts = page.wait_for_function(PROMPTS, timeout=1000 * PATIENCE).json_value()
            if all(re.search(r"\d", prompt) for prompt in prompts):
                return
    raise AssertionError(
        f"JupyterLab does not run all cells: {prompts}, {page.locator('.jp-Dialog').all_inner_texts()}"
    )
