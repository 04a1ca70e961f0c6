"""Notebooks with parameters become pages: papermill runs one, and its page, numbers and figures are written whole."""
