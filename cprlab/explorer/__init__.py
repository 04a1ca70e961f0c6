"""The explorer: a widget in which a history is edited, a hidden state moved, and heads are seen to disagree."""
