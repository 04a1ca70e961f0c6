"""Replace a table of a Markdown page."""

from pathlib import Path

from cprlab.files import whole

END = "<!-- end -->"


def filled(page: str, name: str, table: str) -> str:
    """Return a page with the text between `<!-- NAME -->` and `<!-- end -->` replaced by a table."""
    start = f"<!-- {name} -->\n"
    before, rest = page.split(start, 1)
    return f"{before}{start}\n{table}\n\n{rest[rest.index(END) :]}"


def fill(path: Path, name: str, table: str) -> None:
    """Replace a table of a page in its file."""
    page = path.read_text(encoding="utf-8")
    with whole(path) as file:
        file.write_text(filled(page, name, table), encoding="utf-8")
