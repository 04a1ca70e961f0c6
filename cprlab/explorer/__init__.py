"""The explorer: a widget in which a history is edited, a hidden state moved, and heads are seen to disagree."""

from cprlab.explorer.app import CaseConfig, Explorer, ExplorerConfig, explore
from cprlab.explorer.state import ExplorerState

__all__ = ["CaseConfig", "Explorer", "ExplorerConfig", "ExplorerState", "explore"]
