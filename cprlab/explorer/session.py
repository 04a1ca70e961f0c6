"""Session: what is shown now, and what was done and undone on the way."""

from collections.abc import Callable

from cprlab.explorer.explorer import Explorer
from cprlab.explorer.state import ExplorerState

UNDOABLE = ("case", "history", "settings", "pinned")


class Session:
    """One Explorer is shown, and there is a way back to the states before.

    Args:
        shown: what is shown at first.

    Attributes:
        shown: what is shown.
        changed: called after each change of it.
    """

    def __init__(self, shown: Explorer) -> None:
        self.shown = shown
        self.changed: list[Callable[[], None]] = []
        self._past: list[ExplorerState] = []
        self._future: list[ExplorerState] = []
        self._dragging = False

    @property
    def state(self) -> ExplorerState:
        """What is shown; another one may be set, and can be undone."""
        return self.shown.state

    @state.setter
    def state(self, state: ExplorerState) -> None:
        self.change(state)

    @property
    def undoable(self) -> tuple[bool, bool]:
        """Whether there is something to undo, and to redo."""
        return bool(self._past), bool(self._future)

    def change(self, state: ExplorerState, live: bool = False) -> None:
        """Show another state, which can be undone; nothing happens where it cannot be shown.

        Args:
            state: to be shown.
            live: one of many on the way of a slider; all of them are undone at once.

        Raises:
            CprlabError: it cannot be shown.
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
        """Keep the predictions shown, as `Explorer.with_pin` says."""
        self.change(self.shown.with_pin())

    def switch(self, model: int, **options: object) -> None:
        """Change the head of a model, as `Explorer.switched` says."""
        self.change(self.shown.switched(model, **options))

    def undo(self) -> None:
        """Take back the last change of case, history, settings or pin."""
        self._step(self._past, self._future)

    def redo(self) -> None:
        """Do again what was taken back last."""
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
