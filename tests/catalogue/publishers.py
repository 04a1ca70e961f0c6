"""Small logs in the layouts of the publishers of the catalogue's data sets."""

import gzip
import json
import tarfile
import zipfile
from pathlib import Path

# Triples of user, item and moment (days), in file order; user "2" repeats item "10".
ROWS = [("1", "10", 3), ("2", "10", 1), ("1", "11", 1), ("2", "12", 2), ("2", "10", 4), ("3", "12", 5)]
EPOCH = 1_400_000_000
DAY = 86_400


def seconds(day: int) -> int:
    return EPOCH + day * DAY


def iso(day: int, end: str = "") -> str:
    return f"2014-05-{13 + day:02d}T16:53:20{end}"  # EPOCH is 2014-05-13 16:53:20 UTC


def lines(pattern, rows=ROWS) -> str:
    return "".join(pattern(user, item, day) + "\n" for user, item, day in rows)


def ratings(separator: str) -> str:
    return lines(lambda user, item, day: separator.join([user, item, "5", str(seconds(day))]))


def atomic(user="user_id", item="item_id", time="timestamp") -> str:
    return f"{user}:token\t{item}:token\trating:float\t{time}:float\n" + ratings("\t")


FILMS = {"10": "Amélie: “1”", "11": "Heat", "12": 'The "Best"'}
LATIN = {"10": "Amélie: 1", "11": "Heat", "12": 'The "Best"'}
STEPS = ["Row", "Anon Student Id", "Problem Name", "Step Name", "Step Start Time", "First Transaction Time"]

# The publishers' files by data set: name in the archive → text or bytes.
FILES: dict[str, dict[str, str | bytes]] = {
    "ml-100k": {
        "ml-100k/u.data": ratings("\t"),
        "ml-100k/u.item": "".join(f"{i}|{t}{'|x' * 22}\n" for i, t in LATIN.items()).encode("latin-1"),
        "ml-100k/u1.base": ratings("\t"),
    },
    "ml-1m": {
        "ml-1m/ratings.dat": ratings("::"),
        "ml-1m/movies.dat": "".join(f"{i}::{t}::Drama\n" for i, t in LATIN.items()).encode("latin-1"),
    },
    "ml-10m": {
        "ml-10M100K/ratings.dat": ratings("::"),
        "ml-10M100K/movies.dat": "".join(f"{i}::{t}::Drama\n" for i, t in FILMS.items()),
    },
    "yoochoose-clicks": {
        "yoochoose-clicks.dat": lines(lambda user, item, day: f"{user},{iso(day, '.061Z')},{item},0"),
    },
    "gowalla": {
        "loc-gowalla_totalCheckins.txt": lines(lambda user, item, day: f"{user}\t{iso(day, 'Z')}\t30.2\t-97.7\t{item}"),
    },
    "Amazon_Books": {"ratings_Books.csv": ratings(",")},
    "amazon-beauty": {"ratings_Beauty.csv": ratings(",")},
    "Amazon_Video_Games": {"ratings_Video_Games.csv": ratings(",")},
    "Twitch-100k": {"100k_a.csv": lines(lambda user, item, day: f"{user},{item},streamer{item},{day},{day + 4}")},
    "tmall-buy": {
        "ijcai2016_taobao.csv": "use_ID,sel_ID,ite_ID,cat_ID,act_ID,time\n"
        + lines(lambda user, item, day: f"{user},7,{item},8,1,201505{13 + day}\n{user},7,99,8,0,20150501"),
    },
    "steam": {
        "steam_reviews.json": lines(
            lambda user, item, day: repr({"username": user, "product_id": item, "date": iso(day)[:10], "text": "l'été"})
        ),
        "steam_games.json": "{u'id': u'10', u'app_name': u'Ball \\'97', u'price': 4.99}\n{u'url': u'x'}\n",
    },
    "yelp2018": {
        "yelp_academic_dataset_review.json": lines(
            lambda user, item, day: json.dumps(
                {"user_id": user, "business_id": item, "stars": 5, "date": iso(day)[:10]}
            )
        ),
        "yelp_academic_dataset_business.json": json.dumps({"business_id": "12", "name": "Café"}) + "\n",
    },
    "algebra2008_2009": {
        "algebra_2008_2009/algebra_2008_2009_train.txt": "\t".join(STEPS)
        + "\n"
        + lines(
            lambda user, item, day: f"1\t{user}\tP\tx={item}\t{iso(day)[:10]} 00:00:0{day}.0\t{iso(9)[:10]} 00:00:00.0"
        )
        + f"2\t3\tP\tx=10\t\t{iso(9)[:10]} 00:00:00.0\n",
    },
}


def folder_of(name: str, place: Path) -> Path:
    """Write a data set's files into a folder."""
    for file, text in FILES[name].items():
        path = place / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_bytes(text))
    return place / name


def zip_of(name: str, place: Path) -> Path:
    path = place / f"{name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in FILES[name].items():
            archive.writestr(file, _bytes(text))
    return path


def tar_of(name: str, place: Path) -> Path:
    folder = folder_of(name, place / "unpacked")
    path = place / f"{name}.tgz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, name)
    return path


def gz_of(name: str, place: Path) -> Path:
    """Write the first of a data set's files, gzipped."""
    file, text = next(iter(FILES[name].items()))
    path = place / f"{Path(file).name}.gz"
    path.write_bytes(gzip.compress(_bytes(text)))
    return path


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
