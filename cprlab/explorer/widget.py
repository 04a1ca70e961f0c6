"""ExplorerWidget: what the page and the Explorer say to each other.

The page sends what its user does, one act at a time, and draws what it is told; it asks for slow work when nobody
waits. So nothing queues up here. An act that comes twice, as after a pause in the connection, is done once.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anywidget
import torch

from cprlab.errors import CprlabError
from cprlab.explorer import payload, tables
from cprlab.explorer.app import Explorer
from cprlab.explorer.frontend import script, style
from cprlab.explorer.state import ExplorerState

TABLE_EVERY = 2.0  # seconds, while certificates come in
FAULT = "Something went wrong that should not have ({}: {}); nothing was changed. Please report it."


class ExplorerWidget(anywidget.AnyWidget):
    """The widget of an Explorer.

    Args:
        app: what it shows.
    """

    _esm = script()
    _css = style()

    def __init__(self, app: Explorer) -> None:
        super().__init__()
        self._app = app
        self._act_done: int | None = None
        self._sent: dict[str, Any] = {}  # by kind of message: what it was made from
        self._outcomes: list[dict | None] = [None] * len(app.models)  # of the last view
        self._notice = ""  # what the last change changed
        self._verdict: Iterator[None] = iter(())
        self._certificates = app.cases.certify()
        self._certified: int | None = 0  # cases; None when there are no more to look at
        self._table_due = 0.0
        self._acting = False  # on an act, which is answered once when it is done
        app.changed.append(self._changed)
        self.on_msg(self._receive)

    def _changed(self) -> None:
        if not self._acting:
            self._show()

    def _receive(self, widget: Any, content: dict, buffers: list) -> None:
        actions = {"hello": self._hello, "act": self._act, "slow": self._slow, "export": self._export}
        try:
            with _one_thread():
                actions[content["type"]](content)
        except Exception as error:  # what is raised here, nobody sees
            known = isinstance(error, CprlabError)
            self._show(str(error) if known else FAULT.format(type(error).__name__, error))

    def _hello(self, content: dict) -> None:
        self._sent.clear()
        self.send(payload.base(self._app))
        self._show()

    def _act(self, content: dict) -> None:
        if content["id"] != self._act_done:
            self._act_done, self._acting = content["id"], True
            try:
                if "set" in content:
                    self._app.patch(content["set"], bool(content.get("live")))
                else:
                    self._command(content["command"], content.get("value"))
            finally:
                self._acting = False
        self._show()

    def _command(self, name: str, value: Any) -> None:
        app = self._app
        if name == "head":
            options = {payload.SWITCHES.get(key, key): one for key, one in value.items() if key != "model"}
            app.switch(value["model"], **options)
        elif name == "load":
            app.change(ExplorerState.from_json(value))
        elif name == "unpin":
            app.patch({"pinned": None})
        else:
            {"undo": app.undo, "redo": app.redo, "pin": app.pin}[name]()

    def _export(self, content: dict) -> None:
        name = content["view"]
        text = tables.to_csv(self._app.table(name))
        self.send({"type": "export", "name": f"explorer-{name}.csv", "mime": "text/csv", "text": text})

    def _show(self, error: str = "") -> None:
        """Send the view, then what may come later: the map, the cases and the verdict, as far as they changed."""
        app = self._app
        outcomes = [None if one is None else payload.outcome(one, app.target) for one in app.predicted()]
        known = self._sent.get("case") == app.state.case
        if not known or outcomes != self._outcomes:
            self._notice = payload.notice(app, self._outcomes, outcomes) if known else ""
        self._sent["case"], self._outcomes = app.state.case, outcomes
        view = payload.view(app, self._notice, error)
        self.send(view | {"id": self._act_done})
        self._send_points()
        self.send(payload.marks(app))
        if app.state.query != self._sent.get("cases"):
            self._send_cases()
        if app.sentence():
            self.send(payload.verdict(app) | {"id": self._act_done})

    def _send_points(self) -> None:
        key = self._app.map_key
        if key == self._sent.get("points"):
            return
        message, buffers = payload.points(self._app)
        self._sent["points"] = None if message.get("pending") else key
        self.send(message, buffers)

    def _send_cases(self) -> None:
        self._sent["cases"] = self._app.state.query
        self.send(payload.cases(self._app))

    def _slow(self, content: dict) -> None:
        doing = self._work()
        self.send({"type": "slow", "more": bool(doing), "doing": doing})

    def _work(self) -> str:
        """Do a little of what nobody waits for and say what it is; "" where there is nothing left to do."""
        app = self._app
        shown = app.state.case, app.history
        if shown != self._sent.get("verdict"):
            self._sent["verdict"], self._verdict = shown, app.verdict()
        if next(self._verdict, "done") != "done":
            if app.sentence():
                self._show()  # the map marks what interferes from now on
            return "the verdict on this case"
        if app.state.projection == "tsne" and self._sent.get("points") is None:
            if app.plane() is not None:
                self._show()
            return f"t-SNE of {len(app.titles):,} items"
        if self._certified is not None:
            self._certified = next(self._certificates, None)
            if self._certified is None or time.monotonic() > self._table_due:
                self._table_due = time.monotonic() + TABLE_EVERY
                self._send_cases()
        if self._certified is None:
            return ""
        return f"certificates: {self._certified:,} of {len(app.cases.targets):,} cases"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch use one thread: a single history is too little to share out, which takes a third longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
