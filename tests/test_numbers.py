"""What stands at the top of a page: the doubts that change results, once each and as text."""

from cprlab.data import Sequences
from cprlab.data.doubts import changes
from cprlab.numbers import doubts_first
from tests.conftest import random_log


def test_only_doubts_that_change_results_are_shown_first_and_markup_in_them_is_text():
    log = Sequences.from_log(random_log(users=20))
    assert doubts_first(log.notes, ()) == ""
    doubtful = ("known", changes("<b>1</b> of *2* rows"), changes("other"))
    said = doubts_first(doubtful, (), doubtful)
    assert said.splitlines() == [
        "**In doubt, and changes results:**",
        "",
        r"- &lt;b&gt;1&lt;/b&gt; of \*2\* rows",
        "- other",
    ]
