"""Pages from notebooks with parameters: papermill runs a notebook, and its page, numbers and figures are written."""
