"""The answer on repeats: what is shown, what is not, and what too few users cannot tell."""

from cprlab.data import count_repeats, repeat_curve, repeat_gaps
from cprlab.studies.repeats import repeats_answer
from tests.data.test_sequences import sequences_of


def answered(lists, max_len=50):
    sequences = sequences_of(lists, max_len)
    curve, gaps = (made(sequences).assign(data="log") for made in (repeat_curve, repeat_gaps))
    return repeats_answer({"log": count_repeats(sequences)}, curve, gaps, max_len)


def test_a_habit_is_found_at_the_place_where_most_users_can_be_compared():
    habit = [[1, 2, 3, 1, 2]] * 40 + [[1, 2, 3, 4, 5]] * 60
    said = answered(habit)
    assert "40.0% [30.9%, 49.8%] of the users end with an item that is among the 50 before it" in said
    assert "16.0% of the interactions repeat an earlier item" in said
    assert (
        "One repeat announces the next: of the users who have repeated by their item 4, 100.0% [91.2%, 100.0%] repeat "
        "with the following one, of the others 0.0% [0.0%, 6.0%]."
    ) in said
    assert "100% of the repeats come within 5 interactions, and 100.0% within the 50 that a model reads" in said
    assert "100 test users" in said


def test_what_is_not_shown_is_said_not_to_be():
    alike = [[1, 2, 3, 1, 1], [1, 2, 3, 1, 4], [1, 2, 3, 4, 1], [1, 2, 3, 4, 5]] * 25
    assert "It is not shown that one repeat announces the next" in answered(alike)
    once = [[1, 2, 3, 1, 4]] * 50 + [[1, 2, 3, 4, 1]] * 50
    assert "One repeat makes the next less likely" in answered(once)
    assert "Too few users" in answered([[1, 2, 3, 1, 1]] * 5 + [[1, 2, 3, 4, 5]] * 60)
    assert "Too few users" in answered([[1, 1, 1, 1, 1]] * 60)  # all are alike


def test_a_log_without_repeats_has_nothing_to_copy():
    said = answered([[1, 2, 3, 4, 5]] * 400)
    assert said.strip() == (
        "- **log** (400 users): nobody consumes an item again, so whatever a model puts on the history is lost."
    )
