"""The demo: the explorer of two trained models as one page, which is shipped with cprlab."""

import shutil
import webbrowser
from pathlib import Path

from cprlab.files import whole
from cprlab.shipped import shipped

PAGE = "docs/demo.html"


def run_demo(path: str = "") -> Path:
    """Open the demo's page in the default browser, or write it to `path` if that is given; return where it is.

    Raises:
        CprlabError: the page is not installed, or cannot be written.
    """
    page = shipped(PAGE)
    if not path:
        webbrowser.open(page.as_uri())
        return page
    with whole(Path(path)) as file:
        shutil.copyfile(page, file)
    return Path(path)
