"""What the numbered notebooks share: parameters that fill grids, and notebooks that refuse wrong ones."""

from pathlib import Path

import pandas as pd
import papermill
import pytest

from cprlab.errors import ConfigError, DataError
from cprlab.pages.run import execute, parameterised
from cprlab.shipped import find_notebook
from cprlab.studies import StudyConfig
from cprlab.sweeps import Grid
from tests.conftest import random_log

STUDIES = sorted(path.name for path in (Path(__file__).parents[2] / "notebooks").rglob("*.ipynb"))


@pytest.fixture
def log(tmp_path):
    log = random_log(users=20, items=25, longest=15)
    rows = zip(log.user_ids[log.users], log.item_ids[log.items], strict=True)
    (tmp_path / "log.csv").write_text("user_id,item_id\n" + "".join(f"{user},{item}\n" for user, item in rows))
    return str(tmp_path / "log.csv")


def test_its_parameters_make_a_grid():
    study = StudyConfig(
        data="complete-journey ; a.csv;", encoder="MF", heads="Softmax;Softmax +C", seeds=2, size="full"
    )
    heads = ("Softmax", "Softmax + C")
    grid = Grid(data=("complete-journey", "a.csv"), encoder=("MF",), head=heads, seeds=2, size="full")
    assert study.grid() == grid
    assert study.but(users=7, epochs=3).grid() == grid.but(users=7, epochs=3)
    assert study == StudyConfig.of(
        {
            "data": ["complete-journey", "a.csv"],
            "encoder": "MF",
            "heads": ("Softmax", "Softmax +C"),
            "seeds": 2,
            "size": "full",
            "other": 3,
        }
    )
    changed = study.grid(head=("MoS:3",), settings={"d": (8, 16)})
    assert changed == grid.but(head=("MoS:3",), settings={"d": (8, 16)})


def test_its_runs_are_those_of_the_grid_and_are_read_back(log, tmp_path):
    study = StudyConfig(data=log, encoder="MF", heads="Softmax; Softmax + C", device="cpu", runs=str(tmp_path / "runs"))
    logs = study.logs()
    assert list(logs) == ["log"]
    results = study.run(logs, settings={"d": (8,)})
    assert results.table["head"].tolist() == ["Softmax", "Softmax + C"]
    assert results.table["d"].tolist() == [8, 8]
    assert len(results.cases) == 2 * logs["log"].n_users
    for head, cases in results.cases.groupby("head"):
        run = results.run(head=head)
        assert run.config.head == head
        pd.testing.assert_frame_equal(cases[run.cases.columns].reset_index(drop=True), run.cases)
    with pytest.raises(ConfigError, match=r"2 runs have the labels \{'d': 8\}"):
        results.run(d=8)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    again = study.run({"other name": logs["log"]}, settings={"d": (8,)})
    assert again.table["data"].unique().tolist() == ["other name"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == written


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ({"heads": "Sofmax"}, ConfigError, "did you mean 'Softmax'"),
        ({"heads": ";"}, ConfigError, "The grid has no head"),
        ({"data": ""}, ConfigError, "The grid has no data"),
        ({"data": "nowhere.csv"}, DataError, r"nowhere\.csv is not a file"),
    ],
)
def test_what_it_cannot_run_is_said_in_a_sentence(values, kind, said):
    with pytest.raises(kind, match=said):
        StudyConfig(**values).logs()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"seeds": "two"}, "'seeds' cannot be 'two'"),
        ({"size": "tiny"}, "Unknown size 'tiny': Possible: smoke, small, full"),
        ({"encoder": "GRU"}, "Unknown encoder 'GRU': did you mean 'GRU4Rec'"),
        ({"head": "Softmax"}, "Unknown setting 'head': did you mean 'heads'"),
        ({"data": 3}, "'data' cannot be 3"),
    ],
)
def test_wrong_parameters_are_refused(values, said):
    with pytest.raises(ConfigError) as error:
        StudyConfig(**values)
    assert said in str(error.value)


@pytest.mark.parametrize("name", STUDIES)
def test_a_notebook_on_logs_refuses_wrong_parameters(name):
    if not set(StudyConfig.model_fields) <= set(papermill.inspect_notebook(str(find_notebook(name)))):
        pytest.skip("it has parameters of its own kind")
    with pytest.raises(ConfigError, match=r"no parameter 'sizes': did you mean 'size'"):
        execute(name, {"sizes": "small"})
    code = [cell.source for cell in parameterised(name, {"seeds": "two"}).cells if cell.cell_type == "code"]
    with pytest.raises(ConfigError, match="'seeds' cannot be 'two'"):
        exec("\n".join(code[:3]), {})  # its parameters, the one given, and the cell that takes them
