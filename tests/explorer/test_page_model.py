"""The recommender of a page (static/model.js) against the one of Python, in Node and in Chromium."""

import json
import struct
from base64 import b64encode
from dataclasses import is_dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import save
from scipy.special import log_softmax

from cprlab.errors import ConfigError
from cprlab.explorer.page_model import describe
from cprlab.models import Context, GRU4RecConfig, MFConfig, Recommender, SASRecConfig, ablated, parse_head, partitions
from cprlab.models.recommender import inference
from tests.browser import open_page
from tests.explorer import fake
from tests.explorer.test_modules import node
from tests.models.test_recommender import ENCODERS, HEADS

N_ITEMS, MAX_LEN = 30, 12
ENGINES = ("Node", "Chromium")
MORE_HEADS = [
    "Softmax + B + Mi (window=0, depth=1)",
    "Softmax + CP + Mi (window=20, depth=5, tied=False)",
    "Softmax + F (coefficients=linear, projection_bias=False)",
    "Softmax + CPR:3,10 + F (context_merge=half, context_norm=False, rerank_merge=add, similarity=cosine, post)",
    "MoS:3 + CPR:30 (context_facets=1, rerank_facets=2)",
    "RepeatNet (post)",
]
ENCODED = {name: config for name, config in ENCODERS.items() if name != "MF"}
MORE_ENCODERS = {
    f"SASRec, {activation}": SASRecConfig(d=5, inner=9, heads=1, activation=activation, norm_eps=1e-3)
    for activation in ("relu", "swish", "tanh", "sigmoid")
} | {"GRU4Rec of d = 1": GRU4RecConfig(d=1, hidden=1)}
PLAIN = [(encoder, head) for encoder in ENCODED for head in [*HEADS, *MORE_HEADS]]
PLAIN += [(encoder, "Softmax + CPR:10 + F + Mi") for encoder in MORE_ENCODERS]
HISTORIES = [
    [4],
    [7, 7],
    [1, 2, 3, 2, 1, 29, 0],
    [5] * 9,
    [3, 3, 7, 1, 7, 3, 8, 9, 10, 11, 12, 12],
    [0, 1, 2, 20, 21, 22, 3, 3, 7, 1, 7, 29, 3, 8, 9, 10, 3, 1, 12],  # longer than is read
]
EVERY = {"Softmax + CPR:2": [[0, 1, 2], [2]], "Softmax (post)": [[2, 0, 1]], "MoS:2 dynamic + C (post)": [[2, 0, 1]]}
EVERY |= {"RepeatNet": [[1, 1, 0, 2], [0]], "RepeatNet (post)": [[0, 1, 2], [0]]}
BIASED = ["Softmax + CPR:3,10", "MoS:2 dynamic + CPR:10 + F + Mi (tied=False, similarity=cosine)", "RepeatNet"]
# Trained, switched, and how the page says so.
SWITCHES = [
    ("Softmax + CPR:3,10 + F + Mi", "Softmax + CPR:3,10 + F (post)", {}, {"inputs": False, "post": True}),
    ("Softmax + CPR:3,10 + F + Mi", "Softmax + C + F + Mi", {"P": None, "R:3": None, "R:10": None}, {}),
    ("Softmax + CPR:3,10 + F + Mi", "Softmax", {"C": None, "P": None, "R:3": None, "R:10": None, "F": None},
     {"inputs": False}),
    ("MoS:2 dynamic + CPR:10 + B", "MoS:2 dynamic + CPR:4 (context_merge=add)",
     {"R:10": {"k": 4, "name": "R:4"}, "B": None, "C": {"merge": "add"}}, {}),
    ("RepeatNet (post)", "RepeatNet", {}, {"post": False}),
]  # fmt: skip
RUN = """(module, cases) => {
    const asked = ({weights, description, histories, moved, changes, options}) => {
        const bytes = Uint8Array.from(atob(weights), (letter) => letter.charCodeAt(0));
        let model = module.openModel(description, module.readSafetensors(bytes.buffer));
        const changed = (one) => one.name in changes ? changes[one.name] && {...one, ...changes[one.name]} : one;
        if (changes) model = model.switched(changed, options);
        return histories.map((history) => {
            const facets = model.facets(history);
            const found = {states: model.states(history), facets, parts: model.predict(history)};
            if (moved) found.moved = model.explain({...facets, V: moved}, history).logProbs;
            return {...found, cold: module.logSoftmax(found.parts.logProbs, 0.5)};
        });
    };
    const answers = cases.map((one) => {
        try {
            return asked(one);
        } catch (error) {
            return error.message;
        }
    });
    const written = (_, value) => typeof value === "number" && !Number.isFinite(value) ? String(value) :
        ArrayBuffer.isView(value) ? Array.from(value) : value;
    return JSON.stringify({answers, partitions: Object.keys(module.PARTITIONS)}, written);
}"""


def build(encoder, head, dtype=torch.float64, n_items=N_ITEMS, bias=False):
    """A model with random weights, of which padding's are never looked at."""
    torch.manual_seed(0)
    config = (ENCODED | MORE_ENCODERS)[encoder]
    model = Recommender(config, parse_head(head), n_items, max_len=MAX_LEN).double()
    if bias:
        model.item_bias = torch.nn.Parameter(torch.zeros(n_items + 1, dtype=torch.float64))
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.7 if dtype == torch.float64 else 0.3)  # single precision rounds large logits
        model.embedding.weight[n_items] = 1e3
    return model.to(dtype).eval()


def packed(model):
    return save({name: weight.contiguous() for name, weight in model.state_dict().items()})


class Case:
    """A model, what a page is given of it, and what is asked."""

    def __init__(self, model, histories=HISTORIES, given=None, changes=None, options=None):
        self.model, self.histories = model, histories
        self.renamed = {"R4": "R10", "R4_2": "R10_2"} if "R:10" in (changes or {}) else {}  # facets keep their names
        self.moved = torch.from_numpy(np.random.default_rng(0).normal(size=model.head.width))
        self.message = {
            "weights": b64encode(packed(given or model)).decode(),
            "description": describe(given or model),
            "histories": histories,
            "moved": self.moved.tolist(),
            "changes": changes,
            "options": options or {},
        }


def file(header, size=0):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return b64encode(struct.pack("<Q", len(text)) + text + bytes(size)).decode()


def unknown_partition():
    description = describe(build("GRU4Rec", "Softmax + C"))
    description["head"]["components"][0]["partitions"][0]["kind"] = "Latest"
    return description


PART = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NOT_WHOLE = {
    "nothing": ("", "it has 0 bytes"),
    "a short file": (file(b"")[:-4], "it has 6 bytes"),
    "a cut header": (b64encode(struct.pack("<Q", 2**60)).decode(), "its header is cut off"),
    "no text": (file(b"\xff{}"), "its header is not JSON"),
    "no JSON": (file(b"{"), "its header is not JSON"),
    "nothing of a": (file({"a": None}), "its header does not say where a is"),
    "a negative shape": (file({"a": PART | {"shape": [-1, -2]}}, 8), "its header does not say where a is"),
    "cut weights": (file({"a": PART}, 7), "its header is wrong about the size of a"),
    "a wrong size": (file({"a": PART | {"shape": [3]}}, 8), "its header is wrong about the size of a"),
    "one offset": (file({"a": PART | {"data_offsets": [0]}}, 8), "its header is wrong about the size of a"),
}
REFUSED = {
    name: ({"weights": weights}, f"This is not a whole .safetensors file: {why}.")
    for name, (weights, why) in NOT_WHOLE.items()
} | {
    "counts": (
        {"weights": file({"a": PART | {"dtype": "I32"}}, 8)},
        "The weights a are of type I32, not F32, F64, I64 or BF16.",
    ),
    "no weights": (
        {"weights": file({})},
        "The weights embedding.weight are missing, not 31,6: they are of another model.",
    ),
    "another shape": (
        {"weights": b64encode(packed(build("GRU4Rec", "Softmax", n_items=9))).decode()},
        "The weights embedding.weight are 10,6, not 31,6: they are of another model.",
    ),
    "another partition": ({"description": unknown_partition()}, "A page cannot compute Latest; use Python."),
    "no history": ({"histories": [[]]}, "The history is empty; a prediction needs at least one item."),
    "another item": ({"histories": [[3, 30]]}, "The history contains 30, which is not an item from 0 to 29."),
    "half an item": ({"histories": [[0.5]]}, "The history contains 0.5, which is not an item from 0 to 29."),
}


@pytest.fixture(scope="module")
def cases():
    """By name, what is asked in one go."""
    found = {f"{pair} {dtype}": Case(build(*pair, dtype)) for pair in PLAIN for dtype in (torch.float32, torch.float64)}
    found |= {f"every {head}": Case(build("SASRec", head, n_items=3), asked) for head, asked in EVERY.items()}
    found |= {f"bias {head}": Case(build("SASRec", head, bias=True)) for head in BIASED}
    for trained, switched, changes, options in SWITCHES:
        given = build("GRU4Rec, 3 layers", trained)
        other = ablated(given, parse_head(switched))
        found[f"switched {trained} {switched}"] = Case(other, given=given, changes=changes, options=options)
        found[f"ablated {trained} {switched}"] = Case(other)
    half = build("GRU4Rec", "Softmax + CP", torch.bfloat16)
    found["bfloat16"] = Case(build("GRU4Rec", "Softmax + CP"), given=half)
    found["bfloat16"].model.load_state_dict(half.state_dict())
    ties = build("GRU4Rec", "Softmax + R:10", n_items=100)
    torch.nn.init.zeros_(ties.head.maps["V"].weight), torch.nn.init.zeros_(ties.head.maps["V"].bias)
    found["ties"] = Case(ties)
    return found


@pytest.fixture(scope="module", params=ENGINES)
def told(request, slow, cases, tmp_path_factory):
    """What an engine answers to all cases, by name, and its names of partitions."""
    small = Case(build("GRU4Rec", "Softmax + C"), HISTORIES[:1]).message
    messages = [case.message for case in cases.values()] + [small | wrong for wrong, _ in REFUSED.values()]
    if request.param == "Node":
        folder = tmp_path_factory.mktemp("node")
        (folder / "model.mjs").write_text((fake.STATIC / "model.js").read_text(encoding="utf-8"), encoding="utf-8")
        (folder / "cases.json").write_text(json.dumps(messages))
        (folder / "run.mjs").write_text(
            'import { readFileSync } from "node:fs";\nimport * as module from "./model.mjs";\n'
            f'console.log(({RUN})(module, JSON.parse(readFileSync(new URL("cases.json", import.meta.url)))));'
        )
        done = node(folder / "run.mjs")
        assert done.stderr == ""
        answer = json.loads(done.stdout)
    else:
        with open_page(request.getfixturevalue("browser")) as (page, complaints):
            fake.serve_modules(page)
            asked = f"async ([url, cases]) => ({RUN})(await import(url), cases)"
            answer = json.loads(page.evaluate(asked, [f"{fake.MODULES}/model.js", messages]))
            assert complaints == []
    answers = dict(zip([*cases, *REFUSED], answer["answers"], strict=True))
    return {"answers": answers, "partitions": answer["partitions"]}


def numbers(values):
    return np.array(values, dtype=float)


def close(found, expected, tolerance):
    np.testing.assert_allclose(numbers(found), expected, rtol=tolerance, atol=tolerance)


def compare(case, answers, tolerance):
    """Compare all that the page tells of each history with Python."""
    model = case.model
    assert not isinstance(answers, str), answers
    for history, answer in zip(case.histories, answers, strict=True):
        items, at, _ = model.collate([history])
        with inference(model):
            states = model.encoder(model.embedding(items), model.valid(items), None)
            facets = model(items, at)
            close(answer["states"], states[0].transpose(0, 1).flatten(1), tolerance)
            assert set(answer["facets"]) == {case.renamed.get(name, name) for name in facets}
            for name, facet in facets.items():
                close(answer["facets"][case.renamed.get(name, name)], facet.flatten(), tolerance)
            moved = facets | {"V": case.moved.to(facets["V"].dtype)[None, None]}
            close(answer["moved"], model.distribution(moved, Context(items, at, model.n_items))[0, 0], tolerance)
        (expected,) = model.log_probs([history])
        parts, found = model.parts([history]), answer["parts"]
        close(found["logProbs"], expected, tolerance)
        close(found["copy"], np.exp(expected[np.unique(items)]).sum(), tolerance)
        if np.isfinite(expected).any():
            close(answer["cold"], log_softmax(expected / 0.5), 4 * tolerance)
        assert (found["weights"] is None) == (parts.weights is None)
        if parts.weights is not None:
            close(found["weights"], parts.weights[0], tolerance)
        for component, other in zip(found["components"], parts.components, strict=True):
            assert tuple(component["names"]) == other.names
            close(component["logits"], other.logits[:, 0], tolerance)
            assert [[*component["names"], ""][place] for place in component["owner"]] == other.owner[0].tolist()


@pytest.mark.parametrize(("encoder", "head"), PLAIN)
def test_the_page_computes_what_python_does(told, cases, encoder, head):
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-11)):
        name = f"{(encoder, head)} {dtype}"
        compare(cases[name], told["answers"][name], tolerance)


@pytest.mark.parametrize("head", EVERY)
def test_the_history_may_contain_every_item(told, cases, head):
    compare(cases[f"every {head}"], told["answers"][f"every {head}"], 1e-11)


@pytest.mark.parametrize("head", BIASED)
def test_items_may_have_biases(told, cases, head):
    compare(cases[f"bias {head}"], told["answers"][f"bias {head}"], 1e-11)


@pytest.mark.parametrize("how", ["switched", "ablated"])
@pytest.mark.parametrize(("trained", "head"), [switch[:2] for switch in SWITCHES])
def test_parts_are_switched_in_the_page_as_by_ablation(told, cases, how, trained, head):
    name = f"{how} {trained} {head}"
    compare(cases[name], told["answers"][name], 1e-11)


def test_weights_in_half_precision_are_widened(told, cases):
    compare(cases["bfloat16"], told["answers"]["bfloat16"], 1e-11)


def test_of_equal_logits_the_reranker_takes_k_items_with_the_smallest_codes(told):
    for answer in told["answers"]["ties"]:
        (component,) = answer["parts"]["components"]
        assert component["owner"] == [1] * 10 + [0] * 90


def test_every_partition_can_be_computed(told):
    classes = [one for one in vars(partitions).values() if is_dataclass(one) and hasattr(one, "score")]
    assert len(classes) > 5
    assert {getattr(one, "__name__", "") for one in classes} == set(told["partitions"])


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_said_in_a_sentence(told, name):
    assert told["answers"][name] == REFUSED[name][1]


def test_a_model_that_a_page_cannot_compute_is_refused():
    model = Recommender(MFConfig(d=4), parse_head("Softmax"), N_ITEMS, n_users=3)
    with pytest.raises(ConfigError, match=r"and this model, Softmax, is neither\."):
        describe(model)


def test_a_description_is_json():
    told = describe(build("SASRec", "MoS:2 dynamic + CPR:3,10 + F + Mi (context_facets=1)"))
    assert json.loads(json.dumps(told, allow_nan=False))["n_items"] == N_ITEMS
    first, second = told["head"]["components"]
    assert [one["kind"] for one in first["partitions"]] == ["Reranker"] * 2 + [
        "ContextPartition",
        "Pointer",
        "Frequency",
    ]
    assert [one["name"] for one in second["partitions"]] == ["R:10", "R:3", "F"]
