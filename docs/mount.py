"""What is on the documentation site: the project's pages at the places that they have in the repository.

So the links between them hold. Notebooks are shown as they were executed, with their figures, and a page for each
package lists what it exports. MkDocs calls the functions; `mkdocs.yml` has the settings.
"""

import posixpath
import re
from pathlib import Path

import nbformat
import plotly.offline
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter
from traitlets.config import Config

import cprlab
from cprlab.pages.html import Drawn, WithoutProgress

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("[!.]*.ipynb"))
PLOTLY = "assets/plotly.js"


def _uri(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix(".md").as_posix()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the table of contents."""
    notebooks: dict[Path, list] = {path.parent: [] for path in NOTEBOOKS}
    for path in NOTEBOOKS:
        notebooks[path.parent].append({path.stem: _uri(path)})
    first = notebooks.pop(ROOT / "notebooks")
    others = [{folder.name.capitalize(): pages} for folder, pages in notebooks.items()]
    guides = sorted((ROOT / "docs").glob("*.md"), key=lambda path: (path.stem != "guide", path))
    config.nav = [
        {"Home": "README.md"},
        {"Demo": "docs/demo.html"},
        {"Guides": [*map(_uri, guides), "CONTRIBUTING.md", "CHANGELOG.md"]},
        {"Notebooks": first + others},
        {"Reference": [f"reference/{name}.md" for name in cprlab.__all__]},
    ]
    return config


@event_priority(100)
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of docs/ by all that are on the site."""
    for file in [file for file in files if Path(file.abs_src_path or "").is_relative_to(config.docs_dir)]:
        files.remove(file)
    for pattern in ("*.md", "docs/*.md", "docs/*.html", "docs/*.js", "docs/*.css", "figures/*.png"):
        for path in ROOT.glob(pattern):
            uri = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    alone = Config(ExtractOutputPreprocessor={"enabled": False})
    exporter = MarkdownExporter(config=alone, preprocessors=[WithoutProgress, Drawn])
    for path in NOTEBOOKS:
        text, _ = exporter.from_notebook_node(nbformat.read(path, as_version=4))
        text = text.replace('<table border="1" class="dataframe">', '<table class="notebook">')
        files.append(File.generated(config, _uri(path), content=text))
    for name in cprlab.__all__:
        text = f"# cprlab.{name}\n\n::: cprlab.{name}\n"
        for exported in getattr(getattr(cprlab, name), "__all__", []):
            if (ROOT / "cprlab" / name / f"{exported}.py").exists():  # a function that hides its module
                text += f"\n::: cprlab.{name}.{exported}.{exported}\n    options: {{show_root_heading: true}}\n"
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    files.append(File.generated(config, PLOTLY, content=plotly.offline.get_plotlyjs()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page's text with links to notebooks as links to their pages, and none to what is not on the site."""

    def link(found: re.Match) -> str:
        words, target = found.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), target))
        if (ROOT / path).exists() and not path.endswith(".ipynb") and path not in files.src_uris:
            return words
        return found[0].replace(".ipynb", ".md")

    return re.sub(r"\[([^\]]*)\]\(([^)#\s]+)[^)\s]*\)", link, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Return a page with what draws its figures, if it has any."""
    if "plotly-graph-div" not in output:
        return output
    source = "../" * page.file.dest_uri.count("/") + PLOTLY
    return output.replace("</head>", f'<script src="{source}"></script></head>', 1)
