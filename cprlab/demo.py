"""The demo: the explorer of two trained models as one page, which is shipped with cprlab."""

import shutil
import webbrowser
from pathlib import Path

from cprlab.errors import ConfigError
from cprlab.files import whole

PAGE = "demo.html"


def find_demo() -> Path:
    """Return the path of the demo's page, in the installed package or beside it in a checkout.

    Raises:
        ConfigError: it is not there.
    """
    package = Path(__file__).parent
    for path in (package / PAGE, package.parent / "docs" / PAGE):
        if path.is_file():
            return path
    raise ConfigError("The demo is not installed with cprlab; reinstall cprlab.")


def run_demo(path: str = "") -> Path:
    """Open the demo's page in the default browser, or write it to `path` if that is given; return where it is.

    Raises:
        CprlabError: the page is not installed, or cannot be written.
    """
    page = find_demo()
    if not path:
        webbrowser.open(page.as_uri())
        return page
    with whole(Path(path)) as file:
        shutil.copyfile(page, file)
    return Path(path)
