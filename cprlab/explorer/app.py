"""App: the explorer in a notebook, for the eye and for Python."""

from typing import Any

import pandas as pd

from cprlab.explorer import tables
from cprlab.explorer.explorer import Explorer, ExplorerConfig, opened
from cprlab.explorer.session import Session
from cprlab.explorer.widget import ExplorerWidget


class App(Session):
    """A Session that shows itself as a widget, and its views as tables."""

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

    def table(self, view: str) -> pd.DataFrame:
        """Return what a view shows, as `tables.table`."""
        return tables.table(self.shown, view)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Show the widget, where a notebook shows this."""
        if self._widget is None:
            self._widget = ExplorerWidget(self)
        return self._widget._repr_mimebundle_(**options)


def explore(config: ExplorerConfig) -> App:
    """Open, or train, the models of a configuration in an explorer, which shows itself as a widget in a notebook.

    Raises:
        CprlabError: as `opened`.
    """
    return App(opened(config))
