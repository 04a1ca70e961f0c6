"""The explorer: widgets that edit a history and a head, and see what changes."""
