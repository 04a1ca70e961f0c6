"""What happens to files: damaged bytes, and cells and numbers that nobody expects."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

LARGE = 10_000_000  # characters of a field
WORDS = (
    "", " ", "nan", "NaN", "NULL", "None", "inf", "-inf", "1e400", "-1", "-0", "+1", "1.5", "1e3", "1_000", "0x10", "٣",
    "１２", "²", str(2**63), str(2**63 - 1), str(-(2**63)), str(2**53 + 1), "9" * 5_000, "true", "2020-01-31",
    "2020-13-45", "2017-01-31 09:00:00", "2017-01-31T10:00:00+25:00", "9999-12-31", "0001-01-01", "300000-01-01",
    "=cmd()", "@SUM(A1)", "-2+3", "\t", "a\0b", "a\0c", "\0", "\ufeff", "\u202eabc", "\x1b[31mred", '"', '""', 'a"b',
    '"ab', "a,b", "a\tb", "a\nb", "a\rb", "\x85", "\u2028", " x", "x ", "<script>hacked = 1</script>", "é", "\x7f",
    "now", "today", "NaT",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "x", "1", "1.0", "=cmd()", "\0", "\ud800", "\x1b[2J", [[]], [1, [2, [3]]], {}, {"a": 1}, [None], "x" * 5_000,
)  # fmt: skip


def pick(rng: np.random.Generator, choices: Any) -> Any:
    """Return one of a sequence, as it is."""
    return choices[int(rng.integers(len(choices)))]


def one_of(rng: np.random.Generator, ways: Any, otherwise: Any) -> Any:
    """Return what one of several functions makes, or what is there already where that one cannot be applied."""
    try:
        return pick(rng, ways)()
    except (ValueError, TypeError, LookupError):
        return otherwise


def word(rng: np.random.Generator) -> str:
    """Return a field, seldom a large one."""
    return "x" * LARGE if rng.random() < 0.004 else pick(rng, WORDS)


def damaged(rng: np.random.Generator, data: bytes, text: bool = False) -> bytes:
    """Return bytes of which something is cut off, flipped, taken out, put in twice, overwritten or added."""
    at, length = (int(rng.integers(0, len(data) + 1)) for _ in range(2))
    piece = data[at : at + length % 64 + 1]
    noise = rng.bytes(int(rng.integers(1, 20)))
    ways = [
        lambda: data[:at],
        lambda: data[at:],
        lambda: _flipped(rng, data, int(rng.integers(1, 9))),
        lambda: _flipped(rng, data, 1),
        lambda: data[:at] + data[at + len(piece) :],
        lambda: data[:at] + piece + data[at:],
        lambda: data[:at] + noise + data[at:],
        lambda: data[:at] + noise + data[at + len(noise) :],
        lambda: data[:at] + bytes(len(piece)) + data[at + len(piece) :],
        lambda: data + noise,
        lambda: b"",
    ]
    if text:
        ways += [
            lambda: _again(data, "utf-16"),
            lambda: _again(data, "utf-16-le"),
            lambda: _again(data + "é".encode(), "latin-1"),
            lambda: b"\xef\xbb\xbf" + data,
            lambda: data.replace(b"\n", pick(rng, (b"\r\n", b"\r", b"\n\n", b"\r\r\n", b"\x0c"))),
            lambda: data[:at] + b"\0" + data[at:],
        ]
    return pick(rng, ways)()


def _again(data: bytes, encoding: str) -> bytes:
    return data.decode("utf-8", "surrogateescape").encode(encoding, "replace")


def _flipped(rng: np.random.Generator, data: bytes, bits: int) -> bytes:
    flipped = bytearray(data)
    for _ in range(bits if data else 0):
        flipped[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(flipped)


def damaged_file(rng: np.random.Generator, path: Path, text: bool = False) -> None:
    """Damage a file, or now and then remove it or put a folder in its place."""
    data = path.read_bytes()
    if (way := rng.random()) < 0.05:
        path.unlink()
        if way < 0.02:
            path.mkdir()
        return
    path.write_bytes(damaged(rng, data, text))


def changed(rng: np.random.Generator, content: Any) -> Any:
    """Return plain values of which one, at any depth, is replaced, taken out or given a sibling."""
    if isinstance(content, dict) and content and rng.random() < 0.9:
        key = pick(rng, list(content))
        if (way := rng.random()) < 0.1:
            return {name: value for name, value in content.items() if name != key}
        if way < 0.2:
            return content | {str(pick(rng, WORDS)): pick(rng, VALUES)}
        return content | {key: changed(rng, content[key])}
    if isinstance(content, list) and content and rng.random() < 0.8:
        at = int(rng.integers(len(content)))
        new = pick(rng, ([], [content[at]] * 2, [changed(rng, content[at])]))
        return content[:at] + new + content[at + 1 :]
    return nested(rng) if rng.random() < 0.03 else pick(rng, VALUES)


def nested(rng: np.random.Generator) -> Any:
    """Return a list in a list in a list, deeper than what a reader that calls itself can follow."""
    value: Any = 1
    for _ in range(int(rng.integers(50, 400))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def as_json(content: Any) -> bytes:
    """Return values as JSON in which half of a pair of surrogates, nan and infinity may stand."""
    return json.dumps(content).encode()


def safetensors(arrays: dict[str, np.ndarray], header: dict[str, str]) -> bytes:
    """Return a file in this format, written here so that its header can be changed."""
    facts: dict[str, dict] = {"__metadata__": header} if header else {}
    content = b""
    names = {"f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i4": "I32", "i8": "I64", "u8": "U64", "b1": "BOOL"}
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        place = [len(content), len(content) + len(data)]
        kind = names.get(array.dtype.str[1:], "F32")
        facts[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": place}
        content += data
    text = json.dumps(facts).encode()
    return struct.pack("<Q", len(text)) + text + content


def plain_safetensors(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and the header of a file in this format."""
    (length,) = struct.unpack("<Q", data[:8])
    facts = json.loads(data[8 : 8 + length])
    kinds = {"F16": "f2", "F32": "f4", "F64": "f8", "I8": "i1", "I16": "i2", "I32": "i4", "I64": "i8", "U8": "u1"}
    kinds |= {"U16": "u2", "U32": "u4", "U64": "u8", "BOOL": "?"}
    header, arrays = facts.pop("__metadata__", {}), {}
    for name, fact in facts.items():
        start, stop = fact["data_offsets"]
        part = data[8 + length + start : 8 + length + stop]
        arrays[name] = np.frombuffer(part, kinds[fact["dtype"]]).reshape(fact["shape"])
    return arrays, header
