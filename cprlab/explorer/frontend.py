"""The explorer's front end: one ES module and one style sheet, joined from the files in `static`."""

from importlib.resources import files

SCRIPTS = ("base", "cases", "history", "predictions", "map", "states", "verdict", "export", "explorer")
STYLES = ("explorer", "map")


def script() -> str:
    """Return the ES module, whose default export is anywidget's `{render}`."""
    return _joined(SCRIPTS, "js")


def style() -> str:
    """Return the style sheet; every rule is scoped below `.cprlab-explorer`."""
    return _joined(STYLES, "css")


def _joined(names: tuple[str, ...], suffix: str) -> str:
    static = files(__package__) / "static"
    return "\n".join((static / f"{name}.{suffix}").read_text(encoding="utf-8") for name in names)
