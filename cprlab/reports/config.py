"""What a report can be asked for; the notebook, the command line and papermill all fill this."""

from pathlib import Path

import pydantic

from cprlab.config import Config
from cprlab.data import Sequences, load_sequences
from cprlab.models import parse_head
from cprlab.models.encoders import CONFIGS, EncoderName
from cprlab.training import RunConfig, TrainingConfig
from cprlab.training.loop import Device, Precision, open_device


class ReportConfig(Config):
    """The parameters of `notebooks/report.ipynb`.

    Attributes:
        data: a built-in log, a file or a prepared folder.
        users: how many users to draw at random; 0 takes all.
        encoder: the encoder's name.
        heads: names of heads, a semicolon between two; the first is the one that others are compared with.
        epochs: at most; training stops earlier when the validation NDCG@10 no longer rises.
        seed: of the weights, the order of batches, the draw of users and the bootstrap.
        device: where to train.
        precision: float32, float64, or bfloat16 for the products of matrices.
        runs: the folder in which trained models are kept and found again.
        out: the folder for `metrics.json`; none is written when empty.
        user: the log's column of users; guessed when empty, as are `item`, `time` and `title`.
        item: the log's column of items.
        time: the log's column of times.
        title: the log's column of titles.
    """

    data: str = "complete-journey-types"
    users: int = pydantic.Field(0, ge=0)
    encoder: EncoderName = "GRU4Rec"
    heads: str = "Softmax; Softmax + CPR:100 + Mi"
    epochs: int = pydantic.Field(100, ge=1)
    seed: int = pydantic.Field(0, ge=0, lt=2**31)
    device: Device = "auto"
    precision: Precision = "float32"
    runs: str = "runs"
    out: str = ""
    user: str = ""
    item: str = ""
    time: str = ""
    title: str = ""

    @pydantic.field_validator("heads")
    @classmethod
    def _canonical(cls, heads: str) -> str:
        names = [str(parse_head(name)) for name in heads.split(";") if name.strip()]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError("a report compares two or more different heads, with a semicolon between")
        if any(parse_head(name).post for name in names):
            raise ValueError("a report shows every head with the history removed as well; leave (post) out")
        return "; ".join(names)

    def sequences(self) -> Sequences:
        """Load the log and pack it.

        Raises:
            DataError: the log cannot be read, or is too short to be split.
        """
        sequences = load_sequences(self.data, user=self.user, item=self.item, time=self.time, title=self.title)
        return sequences.sample(self.users, self.seed) if self.users else sequences

    def run_configs(self) -> dict[str, RunConfig]:
        """Return what to train, by head."""
        training = TrainingConfig(epochs=self.epochs, seed=self.seed, precision=self.precision)
        encoder = CONFIGS[self.encoder]()
        return {head: RunConfig(encoder=encoder, head=head, training=training) for head in self.heads.split("; ")}

    def check(self) -> Sequences:
        """Return the data; refuse what could not be trained, before any time is spent on it.

        Raises:
            CprlabError: the data, a head or the device is not usable.
        """
        open_device(self.device)
        sequences = self.sequences()
        for config in self.run_configs().values():
            parse_head(config.head).check_items(sequences.n_items)
        return sequences

    @property
    def folder(self) -> Path:
        """Where the report goes when nobody says where: `reports/` and the name of the data."""
        return Path("reports") / Path(self.data).stem
