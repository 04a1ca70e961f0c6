"""The explorer: a widget in which a history is edited, a hidden state moved, and heads are seen to disagree."""

from cprlab.explorer.app import App, explore
from cprlab.explorer.explorer import CaseConfig, Explorer, ExplorerConfig, opened
from cprlab.explorer.state import ExplorerState

__all__ = ["App", "CaseConfig", "Explorer", "ExplorerConfig", "ExplorerState", "explore", "opened"]
