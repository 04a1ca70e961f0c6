"""The explorer: a widget to edit a history, move a hidden state, and compare what heads predict."""

from cprlab.explorer.app import App, explore
from cprlab.explorer.explorer import CaseConfig, Explorer, ExplorerConfig, opened
from cprlab.explorer.from_page import read_page
from cprlab.explorer.state import ExplorerState

__all__ = ["App", "CaseConfig", "Explorer", "ExplorerConfig", "ExplorerState", "explore", "opened", "read_page"]
