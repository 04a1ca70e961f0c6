"""One small report, made once a worker: a log of which the name, the ids and the titles are hostile."""

import pandas as pd
import pytest

from cprlab.pages.run import run_probe, run_report, run_retrofit
from cprlab.settings import ReportConfig
from cprlab.studies.probe import ProbeConfig
from cprlab.studies.retrofit import RetrofitConfig
from cprlab.training import train
from tests.conftest import random_log

HOSTILE = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1"> & "quoted" {}'


FILE = "=hostile <img src=x onerror='window.hacked = 1'>\x1b[31m\u202e.csv"


@pytest.fixture(scope="session")
def report(tmp_path_factory, slow):
    folder = tmp_path_factory.mktemp("report")
    log = random_log(users=120, items=30)
    frame = pd.DataFrame({"user_id": log.user_ids[log.users], "item_id": log.item_ids[log.items]})
    frame["title"] = [f"{HOSTILE.format(item)}" for item in frame["item_id"]]
    frame["user_id"] = [f'<img src=x onerror="window.hacked = 1">{user}' for user in frame["user_id"]]
    frame["item_id"] = [f"=cmd()\x1b[2J{item}" for item in frame["item_id"]]
    frame.to_csv(folder / FILE, index=False)
    config = ReportConfig(
        data=str(folder / FILE),
        heads="Softmax; Softmax + CPR:5 + Mi; Softmax + C",
        epochs=2,
        device="cpu",
        runs=str(folder / "runs"),
    )
    run_report(config, folder / "out")
    return config, folder / "out"


@pytest.fixture(scope="session")
def probed(report):
    """A page on two of the report's models: a plain softmax, and a head with a state of its own for the history."""
    config, folder = report
    heads = ("Softmax", "Softmax + CPR:5 + Mi")
    sequences = config.sequences()
    runs = [train(sequences, config.run_configs()[head], config.runs, "cpu").folder for head in heads]
    probe = ProbeConfig(models="; ".join(map(str, runs)), data=config.data, runs=config.runs, cases=80)
    run_probe(probe, folder.parent / "probe")
    return probe, folder.parent / "probe"


@pytest.fixture(scope="session")
def retrofitted(report):
    """A page on the report's softmax, with F written, whatever the rule names."""
    config, folder = report
    run = train(config.sequences(), config.run_configs()["Softmax"], config.runs, "cpu").folder
    retrofit = RetrofitConfig(models=str(run), data=config.data, runs=config.runs, part="F")
    run_retrofit(retrofit, folder.parent / "retrofit")
    return retrofit, folder.parent / "retrofit"
