"""Replace a table of a Markdown page, and say what made it."""

from datetime import date
from importlib.metadata import version
from pathlib import Path

from cprlab.files import whole

END = "<!-- end -->"


def filled(page: str, name: str, table: str) -> str:
    """Return a page with the text between `<!-- NAME -->` and `<!-- end -->` replaced by a table."""
    start = f"<!-- {name} -->\n"
    before, rest = page.split(start, 1)
    return f"{before}{start}\n{table}\n\n{rest[rest.index(END) :]}"


def stamp(command: str, *about: str) -> str:
    """Return a sentence that names the command that made a table, the version, the day and more about it."""
    facts = (f"cprlab {version('cprlab')}", *about, str(date.today()))
    return f"Made by `{command}` ({', '.join(facts)})."


def fill(path: Path, name: str, table: str, stamped: str) -> None:
    """Replace a table of a page in its file, with its stamp below it."""
    page = path.read_text(encoding="utf-8")
    with whole(path) as file:
        file.write_text(filled(page, name, f"{table}\n\n{stamped}"), encoding="utf-8")
