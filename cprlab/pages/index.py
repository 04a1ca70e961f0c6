"""index_page: a sweep's first page, with a row for each run and a link to each notebook's page."""

import html
from urllib.parse import quote

import pandas as pd

from cprlab.evaluation import MAIN
from cprlab.sweeps.config import SweepConfig
from cprlab.sweeps.work import Outcome

SHOWN = {"validation": f"validation {MAIN}", MAIN: f"test {MAIN}", "HIT@10": "test HIT@10"}
SHOWN |= {name: name for name in ("log-loss", "epochs", "seconds")}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
td { white-space: nowrap }
td:last-child { white-space: normal }
th { position: sticky; top: 0; background: #fff; border-bottom: 2px solid #888 }
.failed { color: #A33A00 }
"""


def index_page(config: SweepConfig, results: pd.DataFrame, pages: dict[str, Outcome]) -> str:
    """Return the page as self-contained HTML with links to the pages in the same folder.

    Args:
        config: settings of the sweep.
        results: a row for each run: its labels, `status`, `error`, `kind`, and if it is done, the result of
            `train_trial`.
        pages: outcome of each notebook, by name; `NAME.html` is in the same folder if it did not fail.
    """
    failed = int((results["status"] == "failed").sum())
    count = f"{len(results):,} runs" + (f", {failed:,} of them failed" if failed else ", all done")
    title = f"cprlab: {html.escape(config.name)}"
    links = "\n".join(f"<li>{_link(name, page)}</li>" for name, page in pages.items())
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{STYLE}</style></head>
<body>
<h1>{html.escape(config.name)}</h1>
<p>{count}, at the size <em>{config.size}</em>.</p>
<h2>Notebooks</h2>
<ul>
{links}
</ul>
<h2>Data</h2>
<p>Fingerprints, which change when users, items or their order do:</p>
<ul>
{_data(results)}
</ul>
<h2>Runs</h2>
{_table(results)}
</body>
</html>
"""


def _link(name: str, page: Outcome) -> str:
    if page.error:
        return f'{html.escape(name)}: <span class="failed">{html.escape(page.error)}</span>'
    return f'<a href="{quote(name)}.html">{html.escape(name)}</a>'


def _data(results: pd.DataFrame) -> str:
    known = results.dropna(subset="fingerprint") if "fingerprint" in results else results[:0].assign(fingerprint="")
    logs = known[["data", "fingerprint"]].drop_duplicates().itertuples(index=False)
    return "\n".join(f"<li>{html.escape(log)}: <code>{html.escape(of_log)}</code></li>" for log, of_log in logs)


def _table(results: pd.DataFrame) -> str:
    labels = list(results.columns[: results.columns.get_loc("status")])
    shown = {name: title for name, title in SHOWN.items() if name in results}
    head = "".join(f"<th>{html.escape(name)}</th>" for name in (*labels, *shown.values(), "folder or error"))
    rows = []
    for row in results.to_dict("records"):
        cells = [str(row[name]) for name in labels] + [_number(name, row[name]) for name in shown]
        done = row["status"] == "done"
        cells.append(row["folder"].rpartition("/")[2] if done else row["error"])
        texts = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        rows.append(f"<tr>{texts}</tr>" if done else f'<tr class="failed">{texts}</tr>')
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>"


def _number(name: str, value: float) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.0f}" if name == "epochs" else f"{value:.1f}" if name == "seconds" else f"{value:.4f}"
