"""Session: the Explorer shown now, with undo and redo."""

from collections.abc import Callable

from cprlab.explorer.explorer import Explorer
from cprlab.explorer.state import ExplorerState

UNDOABLE = ("case", "history", "settings", "pinned", "kept")


class Session:
    """The Explorer that is shown, with undo and redo.

    Args:
        shown: the first Explorer.

    Attributes:
        shown: the current Explorer.
        changed: functions called after each change.
    """

    def __init__(self, shown: Explorer) -> None:
        self.shown = shown
        self.changed: list[Callable[[], None]] = []
        self._past: list[ExplorerState] = []
        self._future: list[ExplorerState] = []
        self._dragging = False

    @property
    def state(self) -> ExplorerState:
        """The current state; setting another one can be undone."""
        return self.shown.state

    @state.setter
    def state(self, state: ExplorerState) -> None:
        self.change(state)

    @property
    def undoable(self) -> tuple[bool, bool]:
        """Whether something can be undone, and redone."""
        return bool(self._past), bool(self._future)

    def change(self, state: ExplorerState, live: bool = False) -> None:
        """Show another state, which can be undone; nothing changes if it cannot be shown.

        Args:
            state: the new state.
            live: whether it comes from a slider that is still moving; all states of one move are undone together.

        Raises:
            CprlabError: the state cannot be shown.
        """
        before, shown = self.state, self.shown.at(state)
        other = any(getattr(state, name) != getattr(before, name) for name in UNDOABLE)
        if other:
            if not self._dragging:
                self._past.append(before)
            self._future.clear()
        self._dragging = live and (other or self._dragging)
        self._show(shown)

    def patch(self, changes: dict, live: bool = False) -> None:
        """Change some attributes of the state, as `change` does."""
        self.change(self.state.patched(changes), live)

    def pin(self) -> None:
        """Pin the predictions shown, as `Explorer.with_pin`."""
        self.change(self.shown.with_pin())

    def switch(self, model: int, **options: object) -> None:
        """Change the head of a model, as `Explorer.switched`."""
        self.change(self.shown.switched(model, **options))

    def go(self, text: str) -> None:
        """Show the case of a number or of a user's id, as `Choices.named`, and the page of the table that lists it."""
        case, query = self.shown.choices.named(text), self.state.query
        self.patch({"case": case, "query": query.but(page=self.shown.choices.place(case, query) or 0)})

    def undo(self) -> None:
        """Undo the last change of case, history, settings or pin."""
        self._step(self._past, self._future)

    def redo(self) -> None:
        """Redo the change that was undone last."""
        self._step(self._future, self._past)

    def _step(self, source: list[ExplorerState], other: list[ExplorerState]) -> None:
        if not source:
            return
        before = self.state
        shown = self.shown.at(before.but(**{name: getattr(source[-1], name) for name in UNDOABLE}))
        source.pop()
        other.append(before)
        self._dragging = False
        self._show(shown)

    def _show(self, shown: Explorer) -> None:
        self.shown = shown
        for changed in self.changed:
            changed()
