"""App: the explorer in a notebook, as a widget and for Python."""

from typing import Any

import pandas as pd

from cprlab.explorer import tables
from cprlab.explorer.cohort import counted
from cprlab.explorer.edits import Edit
from cprlab.explorer.explorer import Explorer, ExplorerConfig, opened
from cprlab.explorer.session import Session
from cprlab.explorer.widget import ExplorerWidget


class App(Session):
    """A Session that displays itself as a widget and gives its views as tables."""

    def __init__(self, shown: Explorer) -> None:
        super().__init__(shown)
        self._widget: ExplorerWidget | None = None

    @property
    def selection(self) -> pd.DataFrame:
        """The selected items, as `tables.selection`."""
        return tables.selection(self.shown)

    def predictions(self) -> pd.DataFrame:
        """Return the k best items of each model, as `tables.predictions`."""
        return tables.predictions(self.shown)

    @property
    def cohort(self) -> pd.DataFrame:
        """How the models do on all cases of the query, as `Cohort.table` without an edit."""
        return counted(self.shown).table()

    def cohort_after(self, edit: str | Edit) -> pd.DataFrame:
        """Return what an edit of all these cases' histories changes, as `Cohort.table`.

        Args:
            edit: a name in `EDITS`, or a function of the item codes of a history, oldest first, and of the code of the
                true next item, that returns other item codes. Cases for which it returns none are left out.

        Raises:
            ConfigError: there is no such edit, or it returns an unknown item.
        """
        return counted(self.shown, edit).table()

    def table(self, view: str) -> pd.DataFrame:
        """Return the table of a view, as `tables.table`."""
        return tables.table(self.shown, view)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Return the widget's representation, for display in a notebook."""
        if self._widget is None:
            self._widget = ExplorerWidget(self)
        return self._widget._repr_mimebundle_(**options)


def explore(config: ExplorerConfig) -> App:
    """Return an explorer of a configuration's models, which are opened or trained; notebooks display it as a widget.

    Raises:
        CprlabError: as `opened`.
    """
    return App(opened(config))
