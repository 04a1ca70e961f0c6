"""A notebook with a widget, served and shown in a browser."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from cprlab.errors import ConfigError
from cprlab.explorer.serve import serve
from tests.browser import open_page
from tests.jupyter import SERVE, free_port, listening

WIDGET = """
import anywidget

class Hello(anywidget.AnyWidget):
    _esm = "export default { render({ el }) { el.className = 'hello'; el.textContent = `${6 * 7} items`; } }"

Hello()
"""


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "hello.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(WIDGET)]), path)
    return path


@pytest.fixture
def port():
    return free_port()


def test_a_widget_is_shown_with_no_request_to_another_host(notebook, port, chromium):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(notebook), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        said = process.stdout.readline()
        assert said == f"http://localhost:{port}/?token=for-the-test (Ctrl-C ends it)\n"
        assert listening(port)
        with open_page() as (page, complaints):
            for path in ("/", "/?token=wrong", "/voila/render/hello.ipynb", "/api/kernels"):
                refused = page.goto(f"http://localhost:{port}{path}")
                assert refused.status in (403, 404) or "/login" in refused.url, path
                assert page.locator(".hello").count() == 0
            complaints.clear()
            page.goto(f"http://localhost:{port}/?token=for-the-test")
            page.wait_for_selector(".hello", timeout=60_000)
            assert page.text_content(".hello") == "42 items"
            page.wait_for_load_state("networkidle")
            assert complaints == []
        assert "for-the-test" not in Path(f"/proc/{process.pid}/cmdline").read_text().replace(SERVE, "")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children
        for child in children:  # a token on a command line could be read by other users
            assert "for-the-test" not in Path(f"/proc/{child}/cmdline").read_text()
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), port)}
        for own in addresses - {"127.0.0.1", "127.0.1.1"}:
            assert not listening(port, own), f"it listens at {own}"
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in said
    assert not listening(port)


@pytest.mark.slow
def test_what_fails_while_the_server_starts_ends_it(notebook, port, capsys):
    def prepare():
        raise ConfigError("There is no model.")

    with pytest.raises(ConfigError, match="There is no model"):
        serve(notebook, port, False, "x", prepare)
    assert capsys.readouterr().out == ""
    assert not listening(port)


def test_what_cannot_be_served_is_refused(notebook, port):
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ConfigError, match=f"port {port} cannot be used .*; choose another one"):
            serve(notebook, port, False, "x")
    with pytest.raises(ConfigError, match="no notebook nowhere"):
        serve(Path("nowhere.ipynb"), port, False, "x")
