"""Fetch: download a data set from its publisher, with resuming and checksums, and import it."""

import hashlib
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from tqdm import tqdm

from cprlab.catalogue.data_sets import File, find
from cprlab.catalogue.local import FOLDER, file_of, how_to_get, read_about
from cprlab.catalogue.to_parquet import import_data, refuse_other_file
from cprlab.catalogue.unpack import LARGEST
from cprlab.errors import DataError, PlaceError
from cprlab.files import locked, whole

TRIES = 5  # tries in a row without progress
PAUSE = 1.0  # seconds before the second try, doubled for each later one
STALLED = 30.0  # seconds without data


class _TryAgain(Exception):
    """A temporary failure: a busy server, or a connection that ended early."""


def fetch_data(name: str) -> Path:
    """Download a data set from its publisher into `data/NAME/`, and import it.

    The licence is printed to standard error before the first request. An interrupted or killed download resumes where
    it stopped.

    Raises:
        CprlabError: there is no such data set, it must be downloaded by hand, it is not available now, or the file is
            wrong.
    """
    data_set = find(name)
    if not data_set.files:
        if data_set.layout is None:
            raise DataError(f"{data_set.name} comes with cprlab; use --data {data_set.name} without fetching it.")
        raise DataError(f"{data_set.name} is not downloaded, since {how_to_get(data_set)}")
    if read_about(file_of(data_set)) is not None:
        print(f"{data_set.name} is already imported; remove {file_of(data_set)} to fetch it again.", file=sys.stderr)
        return file_of(data_set)
    refuse_other_file(file_of(data_set))
    print(f"{data_set.name} is from {data_set.publisher}: {data_set.page}", file=sys.stderr)
    print(f"Licence: {data_set.terms.name}. {data_set.terms.means}", file=sys.stderr)
    paths = [FOLDER / data_set.name / Path(urlsplit(file.address).path).name for file in data_set.files]
    for file, path in zip(data_set.files, paths, strict=True):
        digest = download(file, path)
        if not file.md5:
            print(f"{path} is unverified: its publisher states no checksum. Its SHA-256 is {digest}.", file=sys.stderr)
    try:
        return import_data(data_set.name, *paths)
    except PlaceError:
        raise
    except DataError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        host = urlsplit(data_set.files[0].address).netloc
        raise DataError(f"The download from {host} is not {data_set.name} and was removed: {error}") from error


def download(file: File, path: Path) -> str:
    """Download a file unless it exists, and return its SHA-256.

    Until the file is complete, its data are in `NAME.partial` and its state in `NAME.partial.json`. A download resumes
    only if the server confirms that the file has not changed.

    Raises:
        DataError: the address is not http or https, the server refuses or does not answer, the checksum is wrong, or
            the disk is full.
    """
    if urlsplit(file.address).scheme not in ("http", "https"):
        raise DataError(f"{file.address} cannot be downloaded; only http and https are supported.")
    with locked(path):
        if not path.exists():
            partial = path.with_name(f"{path.name}.partial")
            try:
                _persist(file.address, partial)
                _refuse_wrong(file, partial)
                os.replace(partial, path)
            except OSError as error:
                raise DataError(
                    f"{partial} cannot be written ({error.strerror or error}). Free some space or change to another "
                    "folder, then fetch again; the download resumes where it stopped."
                ) from error
            _state_of(partial).unlink(missing_ok=True)
    return _digest(path, "sha256")


def _persist(address: str, partial: Path) -> None:
    """Try until the file is complete, or `TRIES` tries in a row made no progress."""
    most = failures = 0
    with _client() as client:
        while True:
            try:
                return _go_on(client, address, partial)
            except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
                raise DataError(f"{address} cannot be downloaded ({error}).") from error
            except (_TryAgain, httpx.RequestError) as error:
                reached = partial.stat().st_size if partial.exists() else 0
                failures = 0 if reached > most else failures + 1
                most = max(most, reached)
                said = (str(error) or type(error).__name__) + _through_proxy(address, error)
                if failures == TRIES:
                    raise DataError(
                        f"{address} cannot be downloaded now ({said}). {reached:,} bytes are here; fetch again "
                        "later to resume."
                    ) from error
                print(f"The download was interrupted ({said}); trying again.", file=sys.stderr)
            time.sleep(PAUSE * 2 ** (failures - 1))


def _client() -> httpx.Client:
    try:
        return httpx.Client(timeout=STALLED, follow_redirects=True, headers={"Accept-Encoding": "identity"})
    except (OSError, ValueError, ImportError) as error:
        raise PlaceError(
            "Nothing can be downloaded with the environment's proxy or certificates "
            f"({getattr(error, 'strerror', None) or error}); correct or unset https_proxy, all_proxy, SSL_CERT_FILE "
            "and SSL_CERT_DIR."
        ) from error


def _through_proxy(address: str, error: Exception) -> str:
    """Return that a connection failed through a proxy, which may be named wrongly, or ""."""
    url = urlsplit(address)
    named = [name for name in (url.scheme, "all") if getproxies().get(name)]
    if not named or not isinstance(error, httpx.TransportError) or proxy_bypass(url.hostname or ""):
        return ""
    return f", through the proxy of {named[0]}_proxy"


def _go_on(client: httpx.Client, address: str, partial: Path) -> None:
    """Request what is missing once, and write it as it arrives; return when the file is complete."""
    state = _read_state(partial)
    here = partial.stat().st_size if partial.exists() else 0
    if state.get("address") != address or not state.get("validator"):
        here = 0  # the rest may be of a different version of the file
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
            raise _TryAgain("the server does not have this part of the file")
        elif response.status_code in (408, 425, 429) or response.status_code >= 500:
            raise _TryAgain(f"the server answers {response.status_code} {response.reason_phrase}")
        else:
            raise DataError(
                f"{address} cannot be downloaded: the server answers {response.status_code} {response.reason_phrase}. "
                "The publisher may have moved it; get it by hand, then use cprlab data import NAME PATH."
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
                    raise DataError(f"{address} does not end; remove what was downloaded, {partial}.")
            file.flush()
            os.fsync(file.fileno())
    size = partial.stat().st_size
    if length >= 0 and size != length:
        if size > length:
            _forget(partial)
        raise _TryAgain(f"{size:,} bytes arrived, and the server had announced {length:,}")


def _length_of_rest(response: httpx.Response, partial: Path, here: int, state: dict) -> int:
    """Return the length of the whole file, if the server sends the rest of it."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    same = _validator(response) in ("", state["validator"])
    if not found or int(found[1]) != here or not same:
        _forget(partial)
        raise _TryAgain("the server sends a different part or a different file than requested")
    return int(found[2])


def _refuse_unsafe(address: str, response: httpx.Response) -> None:
    """Refuse an answer over an unencrypted connection to an https request."""
    if address.startswith("https:") and any(step.url.scheme != "https" for step in (*response.history, response)):
        raise DataError(f"{address} leads to {response.url}, which is not protected by TLS; nothing was downloaded.")


def _refuse_no_room(partial: Path, length: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if length > free:
        raise DataError(f"{partial} needs {length:,} bytes, but only {free:,} are free; free some space.")


def _refuse_wrong(file: File, partial: Path) -> None:
    """Refuse and remove a file with a wrong checksum."""
    if file.md5 and (digest := _digest(partial, "md5")) != file.md5:
        _forget(partial)
        raise DataError(
            f"The download from {file.address} has MD5 {digest}, but its publisher states {file.md5}; it was removed. "
            "Fetch again, or get it by hand."
        )


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def _validator(response: httpx.Response) -> str:
    """Return what identifies this version of the file: a strong ETag, or its date; empty without either."""
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
    """Remove the partial download; first the file, so that the state never describes a different one."""
    partial.unlink(missing_ok=True)
    _state_of(partial).unlink(missing_ok=True)
