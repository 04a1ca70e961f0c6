"""Columns: which column of a table holds what."""

import pydantic

from cprlab.config import Config


class Columns(Config):
    """The names of a log's columns; where one is empty it is guessed from the names there are, but for baskets."""

    user: str = pydantic.Field("", description="The log's column of users, if its name does not tell.")
    item: str = pydantic.Field("", description="The log's column of items.")
    time: str = pydantic.Field("", description="The log's column of times: numbers, dates or ISO text.")
    title: str = pydantic.Field("", description="The log's column of item titles.")
    basket: str = pydantic.Field("", description="The log's column of baskets, whose rows are taken together.")

    @property
    def columns(self) -> "Columns":
        """These fields alone."""
        return Columns(**{role: getattr(self, role) for role in Columns.model_fields})
