import pytest
from hypothesis import given
from hypothesis import strategies as st

from cprlab.errors import ConfigError
from cprlab.models import HeadConfig, parse_head

NAMES = [
    "Softmax",
    "Softmax + Mi",
    "Softmax + C",
    "Softmax + CP",
    "Softmax + R:20",
    "Softmax + CPR:100",
    "Softmax + CPR:100 + Mi",
    "Softmax + CPR:20,100,500 + Mi",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_and_written(name):
    assert str(parse_head(name)) == name


def test_what_a_name_means():
    assert parse_head("softmax+Mi + cpr:100,20") == HeadConfig(
        context=True, pointer=True, rerank=(20, 100), inputs=True
    )


@given(st.booleans(), st.booleans(), st.sets(st.integers(1, 999), max_size=3), st.booleans())
def test_every_head_has_a_name_that_means_it(context, pointer, rerank, inputs):
    head = HeadConfig(context=context, pointer=pointer and context, rerank=tuple(rerank), inputs=inputs)
    assert parse_head(str(head)) == head


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Softmx", "did you mean 'Softmax'"),
        ("", "Possible: Softmax"),
        ("Softmax + CPX:100", "part 'CPX:100'"),
        ("Softmax + CPR", "part 'CPR'"),
        ("Softmax + CPR:0", "at least 1"),
        ("Softmax + CPR:5,5", "twice"),
        ("Softmax + P", "head 'Softmax + P' cannot be: a pointer"),
        ("Softmax + Mi + Mi", "twice"),
        ("Softmax + C + CP", "twice"),
        ("Softmax +", "part ''"),
    ],
)
def test_a_wrong_name_is_refused_in_a_sentence(name, said):
    with pytest.raises(ConfigError, match=said.replace("+", r"\+")):
        parse_head(name)
