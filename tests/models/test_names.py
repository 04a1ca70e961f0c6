import contextlib

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from cprlab.errors import ConfigError
from cprlab.models import SoftmaxConfig, parse_head
from tests.models.test_recommender import HEADS

PAPER = [  # docs/method.md, the table of names
    "Softmax",
    "Softmax + Mi",
    "Softmax + C",
    "Softmax + CP",
    "Softmax + CPR:100",
    "Softmax + CPR:100 + Mi",
    "Softmax + CPR:20,100,500 + Mi",
    "Softmax + B",
    "Softmax + F",
    "Softmax + CPR:100 + F + Mi",
    "Softmax (post)",
    "MoS:3",
    "MoS:3 dynamic",
    "MoS:3 static",
    "MoS:3 uniform",
    "MoS:2 dynamic + CPR:100 + Mi",
    "RepeatNet",
]


@pytest.mark.parametrize("name", PAPER + HEADS)
def test_a_name_is_read_and_written(name):
    assert str(parse_head(name)) == name


def test_what_a_name_means():
    assert parse_head("softmax+Mi + cpr:100,20") == SoftmaxConfig(
        context=True, pointer=True, rerank=(20, 100), inputs=True
    )
    assert parse_head("mos:3 static+c (tied = off)") == SoftmaxConfig(
        facets=3, mixture="static", context=True, tied=False
    )
    assert parse_head("MoS:3") == SoftmaxConfig(facets=3, mixture="max_logits")  # what the paper calls MoS


def test_options_by_keyword():
    head = parse_head("Softmax + CPR:5 + Mi", context_merge="half", context_norm=False, window=4, tied=False)
    assert isinstance(head, SoftmaxConfig)
    assert (head.context_merge, head.context_norm, head.window, head.tied) == ("half", False, 4, False)
    assert parse_head(str(head)) == head


configs = st.fixed_dictionaries(
    {
        "facets": st.integers(1, 4),
        "mixture": st.sampled_from(["max_logits", "dynamic", "static", "uniform"]),
        "context": st.booleans(),
        "pointer": st.booleans(),
        "rerank": st.sets(st.integers(1, 999), max_size=3).map(tuple),
        "inputs": st.booleans(),
        "shift": st.booleans(),
        "frequency": st.booleans(),
        "coefficients": st.sampled_from(["learned", "linear"]),
        "post": st.booleans(),
        "context_merge": st.sampled_from(["replace", "add", "half"]),
        "rerank_merge": st.sampled_from(["replace", "add"]),
        "context_norm": st.booleans(),
        "context_facets": st.none() | st.integers(1, 4),
        "window": st.integers(0, 4),
        "projection_bias": st.booleans(),
        "tied": st.booleans(),
        "similarity": st.sampled_from(["dot", "cosine"]),
    }
)


@limits(suppress_health_check=[HealthCheck.filter_too_much])
@given(configs)
def test_every_head_that_can_be_has_a_name_that_means_it(settings):
    head = None
    with contextlib.suppress(ConfigError):
        head = SoftmaxConfig(**settings)
    assume(head)
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
        ("Softmax + P", "head 'Softmax + P' is not valid: a pointer"),
        ("Softmax + Mi + Mi", "a part too many, 'Mi'"),
        ("Softmax + C + R:100", "and C, P and R as one word, as in CPR:100"),
        ("Softmax + C (context_merge=add, context_merge=half)", "gives context_merge twice"),
        ("Softmax (post, post)", "gives post twice"),
        ("Softmax +", "part ''"),
        ("Softmax dynamic", "Possible: Softmax"),
        ("MoS", "did you mean 'MoS:3'"),
        ("MoS:1", "Unknown head 'MoS:1'"),
        ("MoS:3 dynamo", "Unknown mixture 'dynamo': did you mean 'dynamic'"),
        ("Softmax + B + F", "F) includes a bias of the history (B); use F alone"),
        ("Softmax + B + B", "a part too many, 'B'"),
        ("Softmax + B (coefficients=linear)", "coefficients is an option of the frequency and recency (F)"),
        ("Softmax + F (coefficients=cubic)", "Unknown coefficients 'cubic'"),
        ("RepeatNet + B", "RepeatNet is a head of its own and has no shift"),
        ("RepeatNet (tied=False)", "RepeatNet is a head of its own and has no tied"),
        ("RepeatNet + C", "RepeatNet is a head of its own and has no context"),
        ("Softmax (poste)", "Unknown option 'poste' of the head 'Softmax (poste)': did you mean 'post'"),
        ("Softmax + CPR:" + "9" * 5000, "Unknown part"),
        ("Softmax + Mi (window=99999999999)", "'window' cannot be '99999999999'"),
        ("Softmax (context=1)", "Unknown option 'context=1'"),
        ("Softmax ()", "Unknown option ''"),
        ("Softmax (tied=maybe)", "'tied' cannot be 'maybe'"),
        ("Softmax (post", "Unknown head"),
        ("Softmax (context_merge=add)", "context_merge is an option of the context partition"),
        ("Softmax + C (context_norm=False)", "context_norm is an option of the pointer partition"),
        ("Softmax + C (rerank_merge=add)", "rerank_merge is an option of the reranker partition"),
        ("Softmax (window=3)", "window is an option of the multiple input hidden states"),
        ("Softmax + C (context_facets=1)", "option of several facets"),
        ("MoS:2 + C (context_facets=3)", "context_facets must not be above the number of facets, 2"),
    ],
)
def test_a_wrong_name_is_refused_in_a_sentence(name, said):
    with pytest.raises(ConfigError) as refused:
        parse_head(name)
    assert said in str(refused.value)


def test_a_wrong_option_is_refused_in_a_sentence():
    with pytest.raises(ConfigError, match=r"Unknown setting 'tide': did you mean 'tied'"):
        parse_head("Softmax", tide=True)
    with pytest.raises(ConfigError, match="not None"):
        parse_head(None)


@pytest.mark.parametrize(
    ("name", "fitted"),
    [
        ("Softmax + CPR:20,100,500 + Mi", "Softmax + CPR:20,100 + Mi"),
        ("Softmax + R:500 (rerank_merge=add)", "Softmax + R:15 (rerank_merge=add)"),
        ("Softmax + CPR:150", "Softmax + CPR:150"),
        ("Softmax + CP", "Softmax + CP"),
    ],
)
def test_a_head_is_fitted_to_a_log_by_leaving_out_the_k_that_are_too_large(name, fitted):
    assert str(parse_head(name).fitted(150)) == fitted
    parse_head(fitted).check_items(150)
