"""One small report, made once a worker: a log whose titles are hostile."""

import pandas as pd
import pytest

from cprlab.reports import ReportConfig, run_report
from tests.conftest import random_log

HOSTILE = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1"> & "quoted" {}'


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    log = random_log(users=120, items=30)
    frame = pd.DataFrame({"user_id": log.user_ids[log.users], "item_id": log.item_ids[log.items]})
    frame["title"] = [f"{HOSTILE.format(item)}" for item in frame["item_id"]]
    frame.to_csv(folder / "hostile.csv", index=False)
    config = ReportConfig(
        data=str(folder / "hostile.csv"),
        heads="Softmax; Softmax + CPR:5 + Mi; Softmax + C",
        epochs=2,
        device="cpu",
        runs=str(folder / "runs"),
    )
    run_report(config, folder / "out")
    return config, folder / "out"
