"""RecBole's models: its own numbers with fidelity="reference", and brute force with fidelity="corrected"."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax

from cprlab.adapters import checkpoint
from cprlab.adapters.recbole import CLASSES, RECORDED, from_state_dict, load
from cprlab.errors import ConfigError, DataError
from cprlab.models import SoftmaxConfig, parse_head
from tests.models import brute
from tests.models.test_serving import assert_same

DATA = Path(__file__).parent / "data"


def read(name):
    with np.load(DATA / f"{name}.npz") as file:
        arrays = dict(file)
    histories = arrays["item_seq"].tolist()
    for case in json.loads(arrays["cases"].tobytes()):
        prefix = f"{case['key']}/state/"
        state = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        yield pytest.param(
            case, state, histories, arrays[f"{case['key']}/prob"], id=f"{case['reference_class']}, {case['name']}"
        )


FULL, PADDED = list(read("reference_heads")), list(read("reference_padded"))


def test_nothing_is_missing():
    assert len(FULL) == 37
    assert len(PADDED) == 26
    assert {case.values[0]["reference_class"] for case in PADDED} == set(CLASSES)


@pytest.mark.parametrize(("case", "state", "histories", "prob"), FULL + PADDED)
def test_reference_fidelity_gives_recboles_probabilities(case, state, histories, prob):
    recommender = from_state_dict(case["reference_class"], case["config"], state, fidelity="reference")
    np.testing.assert_allclose(np.exp(recommender.log_probs(histories)), prob, rtol=0, atol=1e-12)
    without_padding = [[item for item in history if item] for history in histories]
    np.testing.assert_array_equal(recommender.log_probs(without_padding), recommender.log_probs(histories))
    np.testing.assert_array_equal(recommender.parts(histories).log_probs, recommender.log_probs(histories))


@pytest.mark.parametrize(("case", "state", "histories", "prob"), FULL + PADDED)
def test_reference_fidelity_is_served_from_an_index_too(case, state, histories, prob):
    recommender = from_state_dict(case["reference_class"], case["config"], state, fidelity="reference")
    if isinstance(recommender.head.config, SoftmaxConfig) and recommender.head.config.mixture == "max_logits":
        assert_same(recommender, histories, 2)


# What a configuration of RecBole's CPR models means, said once more by its name.
MEANT = {
    "softmax": "Softmax",
    "softmax+Mi": "Softmax + Mi",
    "softmax+C": "Softmax + C",
    "softmax+CP": "Softmax + CP",
    "softmax+CPR:10": "Softmax + CPR:10",
    "softmax+CPR:10+Mi": "Softmax + CPR:10 + Mi",
    "softmax+CPR:4,10,30+Mi": "Softmax + CPR:4,10,30 + Mi",
    "MoS:3 max_logits": "MoS:3",
    "MoS:3 dynamic": "MoS:3 dynamic",
    "MoS:3 static": "MoS:3 static",
    "MoS:3 uniform": "MoS:3 uniform",
    "softmax+CP context_norm=0": "Softmax + CP (context_norm=False)",
    "softmax+CP merge=add": "Softmax + CP (context_merge=add)",
    "softmax+CPR:10 reranker=add": "Softmax + CPR:10 (rerank_merge=add)",
    "MoS:2 dynamic+CPR:10+Mi": "MoS:2 dynamic + CPR:10 + Mi",
    "softmax post": "Softmax (post)",
    "softmax+CP merge=half": "Softmax + CP (context_merge=half)",
    "softmax+CP untied": "Softmax + CP",
    "softmax (plain model)": "Softmax",
    "RepeatNet": "RepeatNet",
    "CPR:3,6,12 + Mi": "Softmax + CPR:3,6,12 + Mi",
    "CPR in ascending order": "Softmax + CPR:3,6,12 + Mi",
    "post": "Softmax + CPR:6 (post)",
    "MoS:3 dynamic, C on one facet, R on two": "MoS:3 dynamic + CPR:6 + Mi (context_facets=1, rerank_facets=2)",
    "MoS:2 static, C and R on both, sum": "MoS:2 static + CPR:6 (context_norm=False)",
    "more layers, no projection bias": "Softmax + CPR:6",
    "context merge half": "Softmax + CP (context_merge=half)",
    "untied": "Softmax + CPR:6",
    "three layers, Mi": "Softmax + CPR:6 + Mi",
    "pointer without context": "Softmax",
    "swish": "Softmax + CPR:6",
    "one layer, four heads": "Softmax",
    "three layers": "Softmax",
    "RepeatNet, wider states": "RepeatNet",
    "RepeatNet, narrower states": "RepeatNet",
}


def corrected(case, state, history):
    """Log-probabilities of RecBole's items 1 … n − 1 after a history of them, from its weights by brute.py."""
    config, plain = case["config"], not case["reference_class"].endswith("CPR")

    def linear(name):
        return state[f"{name}.weight"], state.get(f"{name}.bias")

    if case["reference_class"] == "RepeatNet":
        layers = [[state[f"gru.{kind}_l0"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]]
        inputs = [state["item_matrix.weight"][item] for item in history]
        states = brute.gru(inputs, layers, (np.eye(config["hidden_size"]), None))
        attentions = {}
        for name, part, letter in (
            ("gate", "repeat_explore_mechanism", "re"),
            ("repeat", "repeat_recommendation_decoder", "r"),
            ("explore", "explore_recommendation_decoder", "e"),
        ):
            attentions[name] = [linear(f"{part}.{role}{letter}") for role in "WUV"]
        weight = state["explore_recommendation_decoder.matrix_for_explore.weight"]
        choice = linear("repeat_explore_mechanism.Wcre")
        return brute.repeatnet(states, [item - 1 for item in history], attentions, choice, weight[1:])
    inputs = [state["item_embedding.weight"][item] for item in history]
    if "gru_layers.weight_ih_l0" in state:
        layers = [
            [state[f"gru_layers.weight_ih_l{depth}"], state[f"gru_layers.weight_hh_l{depth}"], None, None]
            for depth in range(config["num_layers"])
        ]
        states = brute.gru(inputs, layers, linear("dense"))
    else:
        layers = []
        for depth in range(config["n_layers"]):
            attention, forward = (
                f"trm_encoder.layer.{depth}.{part}" for part in ("multi_head_attention", "feed_forward")
            )
            layers.append(
                [linear(f"{attention}.{role}") for role in ("query", "key", "value", "dense", "LayerNorm")]
                + [linear(f"{forward}.{role}") for role in ("dense_1", "dense_2", "LayerNorm")]
            )
        activation = {"activation": lambda x: x / (1 + np.exp(-x))} if config["hidden_act"] == "swish" else {}
        states = brute.sasrec(
            inputs, state["position_embedding.weight"], linear("LayerNorm"), layers, config["n_heads"],
            eps=config["layer_norm_eps"], **activation,
        )  # fmt: skip
    weight = state["item_embedding.weight"]
    if plain:
        return log_softmax(weight[1:] @ states[-1][-1])
    head = parse_head(MEANT[case["name"]])
    assert isinstance(head, SoftmaxConfig)
    if config["use_out_emb"] and "out_item_embedding.weight" in state:
        weight = state["out_item_embedding.weight"]
    names = [f"V{k}" for k in suffixes(head.facets)]
    if head.rerank:
        in_their_order = str(config["reranker_CAN_NUM"]).split(",")
        names += [f"R{size}{k}" for k in suffixes(head.rerank_facets or head.facets) for size in in_their_order]
    if head.context:
        names += [f"C{k}" for k in suffixes(head.context_facets or head.facets)]
    names += ["P", "L"] * bool(config["n_facet_emb"])
    maps = {name: linear(f"project_arr.{place}") for place, name in enumerate(names)}
    if head.mixture == "dynamic":
        maps["mixture"] = linear("weight_facet_decoder")
    mix = linear("MLP_linear") if head.inputs else None
    history = [item - 1 for item in history]
    z = brute.partitioned(head, states, history, weight[1:], maps, mix, state.get("weight_global"))
    return log_softmax(brute.without(history, z) if head.post else z)


def suffixes(count):
    return ["", "_2", "_3"][:count]


@pytest.mark.parametrize(
    ("case", "state", "histories", "prob"), [case for case in FULL + PADDED if case.values[0]["name"] in MEANT]
)
def test_corrected_fidelity_is_the_equations_without_padding(case, state, histories, prob):
    recommender = from_state_dict(case["reference_class"], case["config"], state)
    assert recommender.n_items == prob.shape[1] - 1
    without_padding = [[item for item in history if item] for history in histories]
    scores = recommender.log_probs([[item - 1 for item in history] for history in without_padding])
    expected = [corrected(case, state, history) for history in without_padding]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("name", CLASSES)
def test_a_checkpoint_of_recboles_is_opened(name):
    histories = [[1, 2, 3, 3, 4, 5, 6], [7], [8, 9, 8]]
    with np.load(RECORDED / "checkpoints.npz") as recorded:
        prob = recorded[name]
    reference = load(RECORDED / f"{name}.pth", fidelity="reference")
    np.testing.assert_allclose(np.exp(reference.log_probs(histories)), prob, rtol=1e-5)
    assert load(RECORDED / f"{name}.pth").n_items == prob.shape[1] - 1  # all but padding


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_in_a_checkpoint_is_run(tmp_path, protocol):
    config = {"model": "GRU4Rec", "harm": Harmful(tmp_path / "harmed")}
    torch.save({"config": config, "state_dict": {}}, tmp_path / "harmful.pth", pickle_protocol=protocol)
    content = checkpoint.read_checkpoint(tmp_path / "harmful.pth")
    assert isinstance(content["config"]["harm"], checkpoint.Inert)
    with pytest.raises(ConfigError, match="GRU4Rec needs 'embedding_size'"):
        load(tmp_path / "harmful.pth")
    assert not (tmp_path / "harmed").exists()
    pickle.loads(pickle.dumps(Harmful(tmp_path / "harmed")))  # what would have happened
    assert (tmp_path / "harmed").exists()


def test_what_torch_saves_is_read_as_it_was(tmp_path):
    tensors = {
        str(dtype): torch.arange(12).reshape(3, 4).T.to(dtype)[1:]
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    }
    torch.save(tensors | {"none": torch.empty(0, 3)}, tmp_path / "tensors.pth", pickle_protocol=4)
    content = checkpoint.read_checkpoint(tmp_path / "tensors.pth")
    with zipfile.ZipFile(tmp_path / "tensors.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for name in new.namelist():
            if not name.endswith("byteorder"):  # which torch before 2.1 did not write
                old.writestr(name, new.read(name))
    assert checkpoint.read_checkpoint(tmp_path / "old.pth").keys() == content.keys()
    assert content["none"].shape == (0, 3)
    for name, tensor in tensors.items():
        torch.testing.assert_close(content[name], tensor, rtol=0, atol=0)


def test_files_that_are_no_checkpoints_are_refused_in_a_sentence(tmp_path):
    file = tmp_path / "some.pth"
    with pytest.raises(DataError, match=r"some\.pth cannot be read as a checkpoint"):
        load(file)
    file.write_bytes(b"not a zip file")
    with pytest.raises(DataError, match=r"some\.pth cannot be read as a checkpoint"):
        load(file)
    file.write_bytes((RECORDED / "GRU4Rec.pth").read_bytes()[:-200])
    with pytest.raises(DataError, match=r"some\.pth cannot be read as a checkpoint"):
        load(file)
    torch.save([1, 2], file)
    with pytest.raises(DataError, match="contains no dictionary"):
        load(file)
    torch.save({"state_dict": {}}, file)
    with pytest.raises(DataError, match="contains no configuration"):
        load(file)


def a_case():
    case, state, histories, _ = next(case for case in FULL if case.values[0]["name"] == "softmax+CPR:10+Mi").values
    return case["config"], state, histories


def test_what_does_not_fit_is_refused_in_a_sentence():
    config, state, _ = a_case()
    with pytest.raises(ConfigError, match=r"Unknown class 'GRU4RecC' of RecBole: did you mean 'GRU4Rec"):
        from_state_dict("GRU4RecC", config, state)
    with pytest.raises(ConfigError, match="Unknown fidelity 'exact'"):
        from_state_dict("GRU4RecCPR", config, state, fidelity="exact")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs 'position_embedding"):
        from_state_dict("SASRecCPR", config | {"hidden_size": 8, "n_layers": 2}, state)
    with pytest.raises(ConfigError, match=r"do not fit its configuration: .*size mismatch"):
        from_state_dict("GRU4RecCPR", config | {"hidden_size": 13}, state)
    with pytest.raises(ConfigError, match="n_facet_MLP = -2 is not supported"):
        from_state_dict("GRU4RecCPR", config | {"n_facet_MLP": -2}, state)
    with pytest.raises(ConfigError, match="Unknown context_merge 'other'"):
        from_state_dict("GRU4RecCPR", config | {"partition_merging_mode": "other"}, state)
    with pytest.raises(ConfigError, match="Unknown rerank_merge 'other'"):
        from_state_dict("GRU4RecCPR", config | {"reranker_merging_mode": "other"}, state)
    with pytest.raises(ConfigError, match="two mappings"):
        from_state_dict("GRU4RecCPR", config, None)
    with pytest.raises(ConfigError, match="Unknown class 5"):
        from_state_dict(5, config, state)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="RecBole itself cannot score"):
        from_state_dict("GRU4RecCPR", config | {"num_layers": 2}, state, fidelity="reference")


@pytest.mark.parametrize("name", CLASSES)
def test_padding_is_dropped_whatever_holds_the_histories(name):
    recommender = load(RECORDED / f"{name}.pth", fidelity="reference")
    padded = [[3, 4, 0, 0, 0], [5, 6, 7, 0, 0]]
    expected = recommender.log_probs([[3, 4], [5, 6, 7]])
    of_each: list[Callable] = [np.array, torch.tensor, pd.Series, tuple, list]
    held: Any
    for held in (np.array(padded), torch.tensor(padded), *([each(row) for row in padded] for each in of_each)):
        np.testing.assert_array_equal(recommender.log_probs(held), expected)
    with pytest.raises(ConfigError, match="History 0 is empty"):
        recommender.log_probs(torch.tensor([[0, 0]]))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="padding, 0, before an item"):
        recommender.log_probs(torch.tensor([[0, 1]]))  # type: ignore[arg-type]


def test_weights_in_bfloat16_are_read_as_float32():
    config, state, histories = a_case()
    short = {name: torch.as_tensor(weight).bfloat16() for name, weight in state.items()}
    long = {name: weight.float() for name, weight in short.items()}
    codes = [[item - 1 for item in history] for history in histories]
    one, other = (from_state_dict("GRU4RecCPR", config, weights).log_probs(codes) for weights in (short, long))
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, name, value):
    content = checkpoint.read_checkpoint(RECORDED / f"{name}.pth")
    config, state = dict(content["config"].final_config_dict), dict(content["state_dict"])
    wrong = list(state)[-1]
    state[wrong] = state[wrong].clone()
    state[wrong].view(-1)[-3:] = value
    row, size = (len(state[wrong]) - (3 if state[wrong].dim() == 1 else 1), state[wrong].numel())
    plain = {key: one for key, one in config.items() if not isinstance(one, checkpoint.Inert)}
    torch.save({"config": plain, "state_dict": state}, tmp_path / "diverged.pth")
    said = (
        rf"diverged\.pth: The training of this {name} diverged: {wrong} contains {value} in row {row} \(3 of its {size}"
    )
    with pytest.raises(DataError, match=said):
        load(tmp_path / "diverged.pth")


def test_padding_between_items_is_refused_and_a_long_history_is_read_from_its_end():
    config, state, histories = a_case()
    corrected = from_state_dict("GRU4RecCPR", config, state)
    reference = from_state_dict("GRU4RecCPR", config, state, fidelity="reference")
    for recommender in (corrected, reference):
        with pytest.raises(ConfigError, match="History 0 contains values that are not whole numbers"):
            recommender.log_probs([3, 4])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="History 0 is empty"):
        reference.log_probs([[0, 0]])
    with pytest.raises(ConfigError, match="History 1 contains RecBole's padding, 0, before an item"):
        reference.log_probs([[1], [0, 1]])
    with pytest.raises(ConfigError, match="History 0 contains an item outside 0"):  # RecBole's last code is one more
        corrected.log_probs([[corrected.n_items]])
    with pytest.raises(ConfigError, match="depend on how it pads"):
        reference.score(torch.tensor([[1, 60]]), torch.tensor([[0]]))
    codes = [[item - 1 for item in history] for history in histories]
    for recommender, read in ((corrected, codes), (reference, histories)):
        longer = [[5, 5, 7, *history] for history in read]
        np.testing.assert_array_equal(recommender.log_probs(longer), recommender.log_probs(read))


def test_the_head_is_named():
    config, state, _ = a_case()
    assert from_state_dict("GRU4RecCPR", config, state).head.config == SoftmaxConfig(
        context=True, pointer=True, rerank=(10,), inputs=True, depth=1
    )
