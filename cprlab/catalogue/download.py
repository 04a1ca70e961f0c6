"""Fetch: a data set is downloaded from its publisher, goes on where it was cut off, is checked, and is imported."""

import hashlib
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from tqdm import tqdm

from cprlab.catalogue.data_sets import File, find
from cprlab.catalogue.local import FOLDER, file_of, how_to_get, read_about
from cprlab.catalogue.to_parquet import import_data
from cprlab.catalogue.unpack import LARGEST
from cprlab.errors import DataError
from cprlab.files import locked, whole

TRIES = 5  # in a row that bring nothing new
PAUSE = 1.0  # seconds before the second try, doubled for each after
STALLED = 30.0  # seconds without a byte


class _TryAgain(Exception):
    """What may pass: a server that is busy, or a connection that ended early."""


def fetch_data(name: str) -> Path:
    """Download a data set from its publisher into `data/NAME/`, and import it.

    The licence is printed to standard error before anything is asked for. A download that was cut off, or killed, goes
    on where it stopped.

    Raises:
        CprlabError: there is no such data set, its publisher does not let it be downloaded so, it cannot be had now, or
            it is not what it should be.
    """
    data_set = find(name)
    if not data_set.files:
        if data_set.layout is None:
            raise DataError(
                f"{data_set.name} comes with cprlab: give --data {data_set.name}, without fetching anything."
            )
        raise DataError(f"{data_set.name} is not downloaded, since {how_to_get(data_set)}")
    if read_about(file_of(data_set)) is not None:
        print(f"{data_set.name} is imported already; remove {file_of(data_set)} to fetch it anew.", file=sys.stderr)
        return file_of(data_set)
    print(f"{data_set.name} is from {data_set.publisher}: {data_set.page}", file=sys.stderr)
    print(f"Licence: {data_set.terms.name}. {data_set.terms.means}", file=sys.stderr)
    paths = [FOLDER / data_set.name / Path(urlsplit(file.address).path).name for file in data_set.files]
    for file, path in zip(data_set.files, paths, strict=True):
        digest = download(file, path)
        if not file.md5:
            print(f"{path} is unverified: its publisher states no checksum. Its SHA-256 is {digest}.", file=sys.stderr)
    try:
        return import_data(data_set.name, *paths)
    except DataError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        host = urlsplit(data_set.files[0].address).netloc
        raise DataError(f"What came from {host} is not {data_set.name} and was removed: {error}") from error


def download(file: File, path: Path) -> str:
    """Download a file, whole or not at all, and return its SHA-256; one that is there is not downloaded again.

    What has come so far stands in `NAME.partial`, and what is known of it in `NAME.partial.json`. It is gone on with
    only if the server says that the file is still the same.

    Raises:
        DataError: the address is not of the web, the server refuses or does not answer, what came is not what the
            publisher states, or there is no room.
    """
    if urlsplit(file.address).scheme not in ("http", "https"):
        raise DataError(f"{file.address} cannot be downloaded; only http and https can.")
    with locked(path):
        if not path.exists():
            partial = path.with_name(f"{path.name}.partial")
            try:
                _persist(file.address, partial)
                _refuse_wrong(file, partial)
                os.replace(partial, path)
            except OSError as error:
                raise DataError(
                    f"{partial} cannot be written ({error.strerror or error}); free some space, or stand in another "
                    "folder, and fetch again: it goes on where it stopped."
                ) from error
            _state_of(partial).unlink(missing_ok=True)
    return _digest(path, "sha256")


def _persist(address: str, partial: Path) -> None:
    """Try until the file is there, as long as tries bring more of it."""
    most = failures = 0
    with httpx.Client(timeout=STALLED, follow_redirects=True, headers={"Accept-Encoding": "identity"}) as client:
        while True:
            try:
                return _go_on(client, address, partial)
            except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
                raise DataError(f"{address} cannot be downloaded ({error}).") from error
            except (_TryAgain, httpx.RequestError) as error:
                reached = partial.stat().st_size if partial.exists() else 0
                failures = 0 if reached > most else failures + 1
                most = max(most, reached)
                said = str(error) or type(error).__name__
                if failures == TRIES:
                    raise DataError(
                        f"{address} cannot be downloaded now ({said}); {reached:,} bytes are here; fetch again "
                        "later, and it goes on from there."
                    ) from error
                print(f"The download was interrupted ({said}); trying again.", file=sys.stderr)
            time.sleep(PAUSE * 2 ** (failures - 1))


def _go_on(client: httpx.Client, address: str, partial: Path) -> None:
    """Ask once for what is missing, and write it as it comes; return when all is there."""
    state = _read_state(partial)
    here = partial.stat().st_size if partial.exists() else 0
    if state.get("address") != address or not state.get("validator"):
        here = 0  # nothing says that the rest would be of the same file
    if here and here == state["length"]:
        return
    headers = {"Range": f"bytes={here}-", "If-Range": state["validator"]} if here else {}
    with client.stream("GET", address, headers=headers) as response:
        _refuse_unsafe(address, response)
        if response.status_code == 206 and here:
            length = _length_of_rest(response, partial, here, state)
        elif response.status_code == 200:
            here, length = 0, int(response.headers.get("Content-Length", -1))
        elif response.status_code == 416 and here:
            _forget(partial)
            raise _TryAgain("the server has no such part of the file")
        elif response.status_code in (408, 425, 429) or response.status_code >= 500:
            raise _TryAgain(f"the server says {response.status_code} {response.reason_phrase}")
        else:
            raise DataError(
                f"{address} cannot be downloaded: the server says {response.status_code} {response.reason_phrase}. The "
                "publisher may have moved it; get it by hand, then cprlab data import NAME PATH."
            )
        if not here:
            _forget(partial)
            _refuse_no_room(partial, length)
            _write_state(partial, {"address": address, "validator": _validator(response), "length": length})
        with (
            open(partial, "ab" if here else "wb") as file,
            tqdm(total=length if length >= 0 else None, initial=here, desc=f"fetching {partial.stem}", unit="B",
                 unit_scale=True, mininterval=1.0) as bar,
        ):  # fmt: skip
            for piece in response.iter_raw():
                file.write(piece)
                bar.update(len(piece))
                if bar.n > LARGEST:
                    raise DataError(f"{address} does not end; what came is in {partial}, to be removed.")
            file.flush()
            os.fsync(file.fileno())
    size = partial.stat().st_size
    if length >= 0 and size != length:
        if size > length:
            _forget(partial)
        raise _TryAgain(f"{size:,} bytes came where the server had said {length:,}")


def _length_of_rest(response: httpx.Response, partial: Path, here: int, state: dict) -> int:
    """Return how long the whole file is, if the server sends its rest."""
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    same = _validator(response) in ("", state["validator"])
    if not told or int(told[1]) != here or not same:
        _forget(partial)
        raise _TryAgain("the server sends another part, or another file, than was asked for")
    return int(told[2])


def _refuse_unsafe(address: str, response: httpx.Response) -> None:
    """Refuse an answer that came over an unprotected connection where a protected one was asked for."""
    if address.startswith("https:") and any(step.url.scheme != "https" for step in (*response.history, response)):
        raise DataError(f"{address} leads to {response.url}, which is not protected by TLS; nothing was downloaded.")


def _refuse_no_room(partial: Path, length: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if length > free:
        raise DataError(f"{partial} needs {length:,} bytes, and {free:,} are free there; make room first.")


def _refuse_wrong(file: File, partial: Path) -> None:
    """Refuse, and remove, what is not the file that the publisher states."""
    if file.md5 and (digest := _digest(partial, "md5")) != file.md5:
        _forget(partial)
        raise DataError(
            f"What came from {file.address} is not what its publisher states (MD5 {digest} instead of {file.md5}) and "
            "was removed; fetch again, or get it by hand."
        )


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def _validator(response: httpx.Response) -> str:
    """Return what tells this version of the file from others, a strong ETag or its date; empty without either."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _state_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _read_state(partial: Path) -> dict:
    try:
        state = json.loads(_state_of(partial).read_text())
        return state if {"address", "validator", "length"} <= set(state) else {}
    except (OSError, ValueError, TypeError):
        return {}


def _write_state(partial: Path, state: dict) -> None:
    with whole(_state_of(partial)) as temporary:
        temporary.write_text(json.dumps(state))


def _forget(partial: Path) -> None:
    """Remove what has come so far; first the file, so that its state never speaks of another."""
    partial.unlink(missing_ok=True)
    _state_of(partial).unlink(missing_ok=True)
