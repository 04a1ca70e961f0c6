"""ExplorerWidget: messages between the page and a Session.

The page sends one user action ("act") at a time, draws the answers, and asks for slow work when it is idle, so no
actions queue up here. An act that arrives twice, such as after a lost connection, is done once.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import anywidget
import torch

from cprlab.errors import CprlabError
from cprlab.explorer import payload, tables
from cprlab.explorer.cohort import Cohort, cohort
from cprlab.explorer.edits import EDITS
from cprlab.explorer.frontend import script, style
from cprlab.explorer.session import Session
from cprlab.explorer.state import UNCOPYABLE, ExplorerState
from cprlab.explorer.stories import Story, found

TABLE_EVERY = 2.0  # seconds, while certificates come in
FAULT = "There was an unexpected error ({}: {}); nothing was changed. Please report it."


class ExplorerWidget(anywidget.AnyWidget):
    """The widget of a Session.

    Args:
        session: the Session that it shows and changes.
    """

    _esm = script()
    _css = style()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._act_done: int | None = None
        self._sent: dict[str, Any] = {}  # by kind of message, a key of what was sent last
        self._outcomes: list[dict | None] = [None] * len(session.shown.models)  # of the last view
        self._notice = ""  # the effect of the last change
        self._verdict: Iterator[None] = iter(())
        self._cohort: Generator[tuple[int, int], None, Cohort] | None = None  # None if it is sent
        self._stories: list[Story] = []
        self._search = found(session.shown)
        self._certificates = session.shown.choices.certify()
        self._certified: int | None = 0  # number of cases; None when all are done
        self._table_due = 0.0
        self._acting = False  # during an act, which is answered once at its end
        session.changed.append(self._changed)
        self.on_msg(self._receive)

    def _changed(self) -> None:
        if not self._acting:
            self._show()

    def _receive(self, widget: Any, content: dict, buffers: list) -> None:
        actions = {"hello": self._hello, "act": self._act, "ask": self._ask, "slow": self._slow, "export": self._export}
        try:
            with _one_thread():
                actions[content["type"]](content)
        except Exception as error:  # otherwise no one would see it
            known = isinstance(error, CprlabError)
            self._show(str(error) if known else FAULT.format(type(error).__name__, error))

    def _hello(self, content: dict) -> None:
        self._sent.clear()
        self.send(payload.base(self._session.shown))
        self.send(payload.stories(self._stories))
        self._show()

    def _act(self, content: dict) -> None:
        if content["id"] != self._act_done:
            self._act_done, self._acting = content["id"], True
            try:
                if "set" in content:
                    self._session.patch(content["set"], bool(content.get("live")))
                else:
                    self._command(content["command"], content.get("value"))
            finally:
                self._acting = False
        self._show()

    def _command(self, name: str, value: Any) -> None:
        session = self._session
        if name == "head":
            options = {payload.SWITCHES.get(key, key): one for key, one in value.items() if key != "model"}
            session.switch(value["model"], **options)
        elif name == "load":
            session.change(ExplorerState.from_json(value))
        elif name == "go":
            session.go(value)
        elif name == "unpin":
            session.patch({"pinned": None})
        else:
            {"undo": session.undo, "redo": session.redo, "pin": session.pin}[name]()

    def _ask(self, content: dict) -> None:
        kind = content["kind"]
        value = payload.ANSWERS[kind](self._session.shown, content.get("value"))
        self.send({"type": "answer", "kind": kind, "id": self._act_done, "value": value})

    def _export(self, content: dict) -> None:
        name = content["view"]
        text = tables.to_csv(tables.exported(self._session.shown, name))
        self.send({"type": "export", "name": f"explorer-{name}.csv", "mime": "text/csv", "text": text})

    def _show(self, error: str = "") -> None:
        """Send the view and the marks, the points and cases if they changed, and the verdict if it is known."""
        shown = self._session.shown
        outcomes = [None if one is None else payload.outcome(one, shown.target) for one in shown.predicted()]
        known = self._sent.get("case") == shown.state.case
        if not known or outcomes != self._outcomes:
            self._notice = payload.notice(shown, self._outcomes, outcomes) if known else ""
        self._sent["case"], self._outcomes = shown.state.case, outcomes
        undo, redo = self._session.undoable
        said = {"id": self._act_done, "undo": undo, "redo": redo, "notice": self._notice, "error": error}
        self.send(payload.view(shown) | said)
        self.send(*payload.scores(shown))
        self._send_points()
        self.send(payload.marks(shown))
        if shown.state.query != self._sent.get("cases"):
            self._send_cases()
        self._begin_cohort()
        if shown.sentence():
            self.send(payload.verdict(shown) | {"id": self._act_done})

    def _begin_cohort(self) -> None:
        """Begin with the query's cases together, if they, the models' settings or the edit are others than before."""
        state = self._session.state
        key = state.query.but(sort="case", descending=False, page=0), state.settings, state.edit
        if key != self._sent.get("cohort"):
            self._sent["cohort"], self._cohort = key, cohort(self._session.shown, EDITS.get(state.edit))
            self.send({"type": "cohort", "pending": True, "done": 0, "total": 0})

    def _send_points(self) -> None:
        key = self._session.shown.map_key
        if key == self._sent.get("points"):
            return
        message, buffers = payload.points(self._session.shown)
        self._sent["points"] = None if message.get("pending") else key
        self.send(message, buffers)

    def _send_cases(self) -> None:
        self._sent["cases"] = self._session.state.query
        self.send(payload.cases(self._session.shown))

    def _slow(self, content: dict) -> None:
        doing = self._work()
        self.send({"type": "slow", "more": bool(doing), "doing": doing})

    def _work(self) -> str:
        """Do one step of background work and return its name; "" if nothing is left to do."""
        shown = self._session.shown
        key = shown.state.case, shown.history
        if key != self._sent.get("verdict"):
            self._sent["verdict"], self._verdict = key, shown.verdict()
        if next(self._verdict, "done") != "done":
            if shown.sentence():
                self._show()  # the map now marks interfering items
            return "the verdict on this case"
        if self._cohort:
            try:
                done, total = next(self._cohort)
                self.send({"type": "cohort", "pending": True, "done": done, "total": total})
            except StopIteration as end:
                self._cohort = None
                self.send(payload.cohort(shown, end.value))
            return "these cases together"
        if shown.state.projection == "tsne" and self._sent.get("points") is None:
            if shown.plane() is not None:
                self._show()
            return f"t-SNE of {len(shown.titles):,} items"
        story = next(self._search, "done")
        if story != "done":
            if isinstance(story, Story):
                self._stories.append(story)
                self.send(payload.stories(self._stories))
            return "stories"
        if self._certified is not None:
            self._certified = next(self._certificates, None)
            if self._certified is None or time.monotonic() > self._table_due:
                self._table_due = time.monotonic() + TABLE_EVERY
                self._send_cases()
            if self._certified is None and shown.state.query.preset == UNCOPYABLE:  # now there are more cases
                self._sent.pop("cohort")
                self._begin_cohort()
                return "these cases together"
        if self._certified is None:
            return ""
        return f"certificates: {self._certified:,} of {len(shown.choices.targets):,} cases"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch use one thread, since more threads take a third longer for a single history."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
