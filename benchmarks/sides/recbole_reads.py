"""RecBole's side of what `cprlab.adapters.recbole_rows` follows: its numbering of items, and its test cases.

Runs in RecBole's environment, and imports nothing of cprlab. The working directory contains `log/log.inter`. Standard
input has a JSON list of settings; the answer is a JSON list of `tokens`, `histories` and `targets`, or of the `error`.
"""

import json
import sys
from contextlib import redirect_stdout


def read(settings: dict) -> dict:
    """Return what RecBole makes of the log with these settings."""
    from recbole.config import Config
    from recbole.data import create_dataset

    base = {
        "data_path": ".",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
        "train_neg_sample_args": None,
    }
    try:
        dataset = create_dataset(Config(model="GRU4Rec", dataset="log", config_dict=base | settings))
        test = dataset.build()[2].inter_feat
    except ValueError as error:
        return {"error": str(error)}
    return {
        "tokens": dataset.field2id_token["item_id"].tolist(),
        "histories": [[item for item in row if item] for row in test["item_id_list"].tolist()],
        "targets": test["item_id"].tolist(),
    }


if __name__ == "__main__":
    sys.argv = sys.argv[:1]  # RecBole reads the command line
    with redirect_stdout(sys.stderr):  # keep what libraries print out of the answer
        answers = [read(settings) for settings in json.load(sys.stdin)]
    print(json.dumps(answers))
