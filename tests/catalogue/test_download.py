"""A download ends in the publisher's file, or in a sentence and no file, whatever the server does."""

import hashlib
import json
import multiprocessing
import os
import signal
import time
from contextlib import contextmanager

import httpx
import numpy as np
import pandas as pd
import pytest

from cprlab.catalogue import data_sets
from cprlab.catalogue.data_sets import File, find
from cprlab.catalogue.download import download, fetch_data
from cprlab.errors import DataError, PlaceError
from tests.catalogue.publishers import FILES, ratings, zip_of
from tests.catalogue.server import WHOLE, Answer, serving

BEAUTY = ratings(",").encode()
OTHER = np.random.default_rng(1).bytes(300_000)
MD5 = hashlib.md5(WHOLE).hexdigest()


@pytest.fixture(autouse=True)
def _quick(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cprlab.catalogue.download.PAUSE", 0.001)


@pytest.fixture
def _impatient(request, monkeypatch):
    """Wait for a server that stalls for less than one that is only slow."""
    if "stalls" in request.node.name:
        monkeypatch.setattr("cprlab.catalogue.download.STALLED", 0.3)


HALF = len(WHOLE) // 2
ENDS_WELL = {
    "at once": ([Answer()], [None]),
    "cut off in the middle": ([Answer(sent=HALF), Answer()], [None, f"bytes={HALF}-"]),
    "cut off three times": ([Answer(sent=HALF // 2)] * 3 + [Answer()], None),
    "cut off at once": ([Answer(sent=0), Answer()], [None, None]),
    "stalls": ([Answer(sent=HALF, stall=True), Answer()], [None, f"bytes={HALF}-"]),
    "stalls before it answers": ([Answer(sent=0, stall=True), Answer()], [None, None]),
    "ignores ranges": ([Answer(sent=HALF), Answer(ranges="no")], [None, f"bytes={HALF}-"]),
    "no ETag": ([Answer(sent=HALF, tag=""), Answer()], [None, None]),
    "a weak ETag": ([Answer(sent=HALF, tag='W/"1"'), Answer()], [None, None]),
    "another file in between": ([Answer(OTHER, '"0"', sent=HALF), Answer()], [None, f"bytes={HALF}-"]),
    "another file in between, whatever was asked": (
        [Answer(OTHER, '"0"', sent=HALF), Answer(ranges="always")],
        [None, f"bytes={HALF}-", None],
    ),
    "a shorter file in between": (
        [Answer(OTHER, '"0"', sent=HALF), Answer(status=416), Answer()],
        [None, f"bytes={HALF}-", None],
    ),
    "busy at first": ([Answer(status=503), Answer(status=429), Answer()], [None] * 3),
    "says too much at first": ([Answer(says=400_000), Answer(tag='"2"')], None),
    "says no length": ([Answer(says="nothing")], [None]),
}


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("case", ENDS_WELL)
def test_a_download_ends_in_the_right_file(tmp_path, case):
    answers, asked = ENDS_WELL[case]
    with serving(*answers) as server:
        digest = download(File(server.address, MD5), tmp_path / "log.zip")
    assert (tmp_path / "log.zip").read_bytes() == WHOLE
    assert digest == hashlib.sha256(WHOLE).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["log.zip"]
    assert asked is None or server.asked == asked


ENDS_BADLY = {
    "no such file": ([Answer(status=404)], "the server answers 404 Not Found", 0),
    "not allowed": ([Answer(status=403)], "the server answers 403 Forbidden", 0),
    "broken": ([Answer(status=500)], "the server answers 500 Internal Server Error", 0),
    "always cut off": ([Answer(sent=HALF, ranges="no")], f"{HALF:,} bytes are here", HALF),
    "always stalls": ([Answer(sent=HALF, stall=True, ranges="no")], "timed out", HALF),
    "says too much": ([Answer(says=400_000, ranges="no")], "300,000 bytes are here", len(WHOLE)),
    "says too little": ([Answer(says=1_000)], "but its publisher states", 0),
    "the wrong file": ([Answer(b"<html>Please log in</html>")], "but its publisher states", 0),
    "leads to a file here": (
        [Answer(status=302, headers=[("Location", "file:///etc/passwd")])],
        "cannot be downloaded",
        0,
    ),
    "leads around": ([Answer(status=302, headers=[("Location", "/files/log.zip")])], "redirects", 0),
    "has no room": ([Answer(says=10**18)], "needs 1,000,000,000,000,000,000 bytes", 0),
    "never ends": ([Answer(says="nothing")], "does not end", len(WHOLE)),
}


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("case", ENDS_BADLY)
def test_a_download_that_cannot_be_had_is_a_sentence_and_no_file(tmp_path, monkeypatch, case):
    answers, said, kept = ENDS_BADLY[case]
    if case == "never ends":
        monkeypatch.setattr("cprlab.catalogue.download.LARGEST", len(WHOLE) - 1)
    with serving(*answers) as server, pytest.raises(DataError) as caught:
        download(File(server.address, MD5), tmp_path / "log.zip")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "log.zip").exists()
    partial = tmp_path / "log.zip.partial"
    assert (partial.stat().st_size if partial.exists() else 0) == kept


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/log.zip", "data:,x", "log.zip"])
def test_only_the_web_is_downloaded_from(tmp_path, address):
    with pytest.raises(DataError, match="only http and https are supported"):
        download(File(address), tmp_path / "log.zip")


def test_a_protected_address_must_not_lead_to_an_unprotected_one(tmp_path, monkeypatch):
    def answer(request):
        if request.url.scheme == "https":
            return httpx.Response(302, headers={"Location": "http://there.example/log.zip"})
        return httpx.Response(200, content=WHOLE)

    client = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **given: client(**given, transport=httpx.MockTransport(answer)))
    with pytest.raises(DataError, match="not protected by TLS"):
        download(File("https://here.example/log.zip"), tmp_path / "log.zip")
    assert not list(tmp_path.glob("log.zip*"))


def test_a_partial_file_that_nothing_is_known_of_is_not_gone_on_with(tmp_path):
    for state in (None, "{", json.dumps({"address": "elsewhere", "validator": '"1"', "length": len(WHOLE)}), "[]"):
        (tmp_path / "log.zip.partial").write_bytes(OTHER[:HALF])
        if state is not None:
            (tmp_path / "log.zip.partial.json").write_text(state)
        with serving(Answer()) as server:
            download(File(server.address), tmp_path / "log.zip")
        assert server.asked == [None]
        assert (tmp_path / "log.zip").read_bytes() == WHOLE
        (tmp_path / "log.zip").unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, to be quick")
@pytest.mark.slow
def test_a_killed_download_goes_on_where_it_stopped(tmp_path):
    path, partial = tmp_path / "log.zip", tmp_path / "log.zip.partial"
    with serving(Answer(slow=0.02), Answer()) as server:
        child = multiprocessing.get_context("fork").Process(target=download, args=(File(server.address, MD5), path))
        child.start()
        until = time.monotonic() + 20
        while not (partial.exists() and partial.stat().st_size > 2**16) and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        stopped = partial.stat().st_size
        assert 0 < stopped < len(WHOLE)
        assert not path.exists()
        download(File(server.address, MD5), path)
    assert path.read_bytes() == WHOLE
    assert server.asked == [None, f"bytes={stopped}-"]


def test_a_download_killed_after_its_last_byte_asks_for_nothing_more(tmp_path):
    with serving(Answer()) as server:
        (tmp_path / "log.zip.partial").write_bytes(WHOLE)
        state = {"address": server.address, "validator": '"1"', "length": len(WHOLE)}
        (tmp_path / "log.zip.partial.json").write_text(json.dumps(state))
        download(File(server.address, MD5), tmp_path / "log.zip")
    assert server.asked == []


@contextmanager
def publishing(monkeypatch, name, body, md5=""):
    """Serve a data set's file in its publisher's place."""
    with serving(Answer(body)) as server:
        entries = tuple(
            entry._replace(files=(File(server.address, md5),)) if entry.name == name else entry
            for entry in data_sets.CATALOGUE
        )
        monkeypatch.setattr(data_sets, "CATALOGUE", entries)
        yield server


def test_fetch_says_the_licence_first_and_imports(tmp_path, monkeypatch, capsys):
    body = zip_of("ml-1m", tmp_path).read_bytes()
    with publishing(monkeypatch, "ml-1m", body, hashlib.md5(body).hexdigest()) as server:
        path = fetch_data("ml-1m")
        printed = capsys.readouterr().err
        assert "unverified" not in printed
        assert printed.index("Licence: GroupLens. Free for research") < printed.index("fetching log.zip")
        assert len(pd.read_parquet(path)) == len(FILES["ml-1m"]["ml-1m/ratings.dat"].splitlines())
        assert fetch_data("ml-1m") == path
        assert "already imported" in capsys.readouterr().err
        path.unlink()
        fetch_data("ml-1m")  # from what was downloaded
        assert server.asked == [None]


def test_without_a_checksum_what_came_is_named_by_its_own(tmp_path, monkeypatch, capsys):
    with publishing(monkeypatch, "amazon-beauty", BEAUTY):
        fetch_data("amazon-beauty")
    assert f"unverified: its publisher states no checksum. Its SHA-256 is {hashlib.sha256(BEAUTY).hexdigest()}" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", BEAUTY[:-15]])
def test_without_a_checksum_what_is_no_log_is_removed(tmp_path, monkeypatch, body):
    with (
        publishing(monkeypatch, "amazon-beauty", body),
        pytest.raises(DataError, match="is not amazon-beauty and was removed"),
    ):
        fetch_data("amazon-beauty")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_what_is_not_to_be_downloaded_says_where_it_is_to_be_had():
    for name in ("yoochoose-clicks", "algebra2008_2009", "tmall-buy", "Twitch-100k", "yelp2018"):
        with pytest.raises(DataError) as caught:
            fetch_data(name)
        assert find(name).page in str(caught.value)
        assert f"cprlab data import {name} PATH" in str(caught.value)
    with pytest.raises(DataError, match="comes with cprlab"):
        fetch_data("complete-journey")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("https_proxy", "://x", r"proxy or certificates \(Unknown scheme for proxy"),
        ("SSL_CERT_FILE", "missing.pem", r"proxy or certificates \(No such file or directory\)"),
        ("SSL_CERT_FILE", "log.csv", r"proxy or certificates \(\[X509"),
        ("https_proxy", "http://127.0.0.1:9", "Connection refused, through the proxy of https_proxy"),
    ],
)
def test_a_wrong_proxy_or_certificate_is_named(tmp_path, monkeypatch, name, value, said):
    (tmp_path / "log.csv").write_text("no certificate")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cprlab.catalogue.download.PAUSE", 0)
    for variable in ("no_proxy", "NO_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=said):
        fetch_data("ml-1m")


def test_what_was_fetched_stays_if_its_import_cannot_be_written(tmp_path, monkeypatch):
    body = zip_of("ml-1m", tmp_path).read_bytes()
    monkeypatch.setattr("cprlab.catalogue.to_parquet._write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with publishing(monkeypatch, "ml-1m", body) as server:
        with pytest.raises(PlaceError, match="cannot be written"):
            fetch_data("ml-1m")
        assert server.asked == [None]
    assert next(path for path in tmp_path.rglob("log.zip")).read_bytes() == body


def test_nothing_is_fetched_over_a_file_that_no_import_made(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ml-1m.parquet").write_text("mine")
    with publishing(monkeypatch, "ml-1m", b"") as server:
        with pytest.raises(PlaceError, match="was not made by an import"):
            fetch_data("ml-1m")
        assert server.asked == []
