"""Files of rows: text in every format, its encodings and its containers; read by `embedkit encode`."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.cli.conftest import Done
from tests.cli.malformed.case import DATA, Case, Check, Spoil
from tests.cli.malformed.ground import ENCODE, TEXTS, assert_vectors, vectors
from tests.cli.malformed.mutations import bytewise
from tests.model import damaged

ROWS = b'{"text": "ba de fi"}\n{"text": "go ku la"}\n'
TWO = ["ba de fi", "go ku la"]
LONG = 2**24 + 100

JSONL: dict[str, bytes | Callable[[], bytes]] = {
    "empty": b"",
    "nothing but blank lines": b"\n\n\n",
    "a row that ends early": ROWS + b'{"text": "me n',
    "a list": ROWS + b'["me ni"]\n',
    "a number": ROWS + b"7\n",
    "null": ROWS + b"null\n",
    "a text that is a number": ROWS + b'{"text": 7}\n',
    "a text that is a list": ROWS + b'{"text": ["me"]}\n',
    "a text that is true": ROWS + b'{"text": true}\n',
    "a text that is null": ROWS + b'{"text": null}\n',
    "a text that is NaN": ROWS + b'{"text": NaN}\n',
    "an empty text": ROWS + b'{"text": ""}\n',
    "a text of blanks": ROWS + b'{"text": "  \\t "}\n',
    "a text of zero width": ROWS + '{"text": "\u200b\u200d"}\n'.encode(),
    "an escaped NUL": ROWS + b'{"text": "me\\u0000ni"}\n',
    "a raw NUL": ROWS + b'{"text": "me\0ni"}\n',
    "half of a surrogate pair": ROWS + b'{"text": "me \\ud800"}\n',
    "an encoded surrogate": ROWS + b'{"text": "me \xed\xa0\x80"}\n',
    "Latin-1": ROWS + '{"text": "caf\xe9"}\n'.encode("latin-1"),
    "UTF-16 with a mark": ROWS.decode().encode("utf-16"),
    "UTF-16 without a mark": ROWS.decode().encode("utf-16-be"),
    "UTF-32": ROWS.decode().encode("utf-32"),
    "carriage returns alone": ROWS.replace(b"\n", b"\r"),
    "a key given twice": ROWS + b'{"text": "me ni", "text": "po ru"}\n',
    "a row without the column": ROWS + b'{"body": "me ni"}\n',
    "no row with the column": b'{"body": "me ni"}\n',
    "20,000 brackets": ROWS + b'{"text": "me ni", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}\n",
    "a number of 5,000 digits": ROWS + b'{"text": "me ni", "x": ' + b"9" * 5000 + b"}\n",
    "a comma at the end": ROWS + b'{"text": "me ni",}\n',
    "quotes of Python": ROWS + b"{'text': 'me ni'}\n",
    "two objects in a line": ROWS + b'{"text": "me ni"} {"text": "po ru"}\n',
    "one document": b'[\n{"text": "ba de"},\n{"text": "me ni"}\n]\n',
    "a comment": b"// texts\n" + ROWS,
    "a blank line inside": ROWS + b"\n" + ROWS,
    "a line of 17 million characters": lambda: ROWS + b'{"text": "' + b"x" * LONG + b'"}\n',
    "a line of 17 million characters without an end": lambda: ROWS + b"x" * LONG,
    "a million blank lines": ROWS + b"\n" * 1_000_001 + ROWS,
    "a Git LFS pointer": damaged.POINTER.encode(),
    "a zip archive": b"PK\x03\x04" + b"\0" * 40,
    "packed with xz": b"\xfd7zXZ\x00" + b"\0" * 40,
    "packed with zstd": b"\x28\xb5\x2f\xfd" + b"\0" * 40,
    "a PDF": b"%PDF-1.7\n",
    "a database": b"SQLite format 3\x00" + b"\0" * 40,
    "random bytes": bytes(np.random.default_rng(0).integers(0, 256, 4096, dtype=np.uint8)),
}
SOUND_JSONL: dict[str, tuple[bytes, list[str]]] = {
    "a byte order mark": (b"\xef\xbb\xbf" + ROWS, TWO),
    "CRLF": (ROWS.replace(b"\n", b"\r\n"), TWO),
    "no end of the last line": (ROWS[:-1], TWO),
    "blank lines at the end": (ROWS + b"\n\r\n  \n", TWO),
    "U+0085 and U+2028 in a text": (ROWS + '{"text": "me\u0085ni\u2028po"}\n'.encode(), [*TWO, "me\u0085ni\u2028po"]),
    "NaN and 1e999 beside the text": (ROWS + b'{"text": "me ni", "x": NaN, "y": 1e999}\n', [*TWO, "me ni"]),
    "other keys in every row": (ROWS + b'{"\\u0000": 1, "text": "me ni"}\n', [*TWO, "me ni"]),
}
CSV: dict[str, bytes] = {
    "empty": b"",
    "a header alone": b"text,id\n",
    "a column given twice": b"text,text\nba,de\n",
    "no such column": b"body,id\nba,1\n",
    "a row too short": b"text,id\nba,1\nde\n",
    "a row too long": b"text,id\nba,1\nde,2,3\n",
    "an open quote": b"text,id\n" + b'"ba,1\n' + b"de,2\n" * 30,
    "an open quote in the last row": b'text,id\nba,1\n"de,2\n',
    "a quote inside": b'text,id\nba,1\n"d"e,2\n',
    "semicolons": b"text;id\nba;1\n",
    "a NUL": b"text,id\nb\0a,1\n",
    "Latin-1 in the header": b"text,caf\xe9\nba,1\n",
    "carriage returns alone": b"text,id\rba,1\rde,2\r",
    "a quote over 20,000 lines": b'text,id\n"' + b"ba\n" * 20_000 + b'",1\n',
}
SOUND_CSV: dict[str, tuple[bytes, list[str]]] = {
    "line breaks and doubled quotes": (b'id,text\n1,"ba\nde ""fi"""\n2,go\n', ['ba\nde "fi"', "go"]),
    "20,000 columns": (b",".join(b"c%d" % i for i in range(20_000)) + b",text\n" + b"x," * 20_000 + b"ba\n", ["ba"]),
    "a byte order mark": (b"\xef\xbb\xbftext,id\nba de,1\n", ["ba de"]),
}  # fmt: skip
TSV: dict[str, bytes] = {
    "a row too short": b"text\tid\nba\t1\nde\n",
    "commas": b"text,id\nba,1\n",
    "a header given twice": b"text\ttext\nba\tde\n",
    "a carriage return inside": b"text\tid\nba\rde\t1\nfi\t2\n",
}
SOUND_TSV: dict[str, tuple[bytes, list[str]]] = {
    "quotes are characters": (b'text\tid\n"ba\t1\nde"\t2\n', ['"ba', 'de"']),
    "empty columns beside the text": (b"text\tid\tx\nba\t\t\nde\t\t\n", ["ba", "de"]),
}
TXT: dict[str, bytes] = {
    "empty": b"",
    "a blank line inside": b"ba de\n\nfi go\n",
    "blanks alone": b"   \n \t\n",
    "a NUL": b"ba\0de\nfi\n",
    "U+0085 as line ends": "ba\u0085de\u0085".encode(),
    "Latin-1": "caf\xe9\nthe\n".encode("latin-1"),
    "UTF-16": "ba de\nfi go\n".encode("utf-16"),
}
SOUND_TXT: dict[str, tuple[bytes, list[str]]] = {
    "no end of the last line": (b"ba de\nfi go", ["ba de", "fi go"]),
    "blanks around": (b"ba de \n fi\n", ["ba de ", " fi"]),
    "a form feed": (b"ba\x0cde\nfi\x0b\n", ["ba\x0cde", "fi\x0b"]),
}
_PACKED = gzip.compress(ROWS, mtime=0)
GZ: dict[str, bytes | Callable[[], bytes]] = {
    "cut in the middle": _PACKED[: len(_PACKED) // 2],
    "cut in the header": _PACKED[:5],
    "cut in the checksum": _PACKED[:-3],
    "a wrong checksum": _PACKED[:-8] + bytes(4) + _PACKED[-4:],
    "garbage behind": _PACKED + b"garbage",
    "packed twice": gzip.compress(_PACKED, mtime=0),
    "200 million blank lines": lambda: gzip.compress(b"\n" * 200_000_000, 9, mtime=0),
    "1 GB of one line": lambda: gzip.compress(b"x" * 2**20, 9, mtime=0) * 1000,
}
SOUND_GZ: dict[str, tuple[bytes, list[str]]] = {
    "zeros behind": (_PACKED + bytes(512), TWO),
    "two members": (_PACKED + gzip.compress(b'{"text": "me ni"}\n', mtime=0), [*TWO, "me ni"]),
    "not packed at all": (ROWS, TWO),
}
IDS: dict[str, bytes] = {
    "one that comes again": b'{"text": "ba", "id": "a"}\n{"text": "de", "id": "a"}\n',
    "a number and its digits": b'{"text": "ba", "id": 7}\n{"text": "de", "id": "7"}\n',
    "null": b'{"text": "ba", "id": null}\n',
    "a fraction": b'{"text": "ba", "id": 1.5}\n',
    "true": b'{"text": "ba", "id": true}\n',
    "a list": b'{"text": "ba", "id": ["a"]}\n',
    "missing in one row": b'{"text": "ba", "id": "a"}\n{"text": "de"}\n',
    "a NUL": b'{"text": "ba", "id": "a\\u0000"}\n',
}


def _link(to: str) -> Callable[[str], Spoil]:
    return lambda name: lambda folder: (folder / name).symlink_to(to)


PLACES: dict[str, tuple[str, Callable[[str], Spoil]]] = {
    "is not there": ("no.jsonl", lambda name: lambda folder: None),
    "is a folder": ("bad.jsonl", lambda name: lambda folder: (folder / name).mkdir()),
    "is a pipe": ("bad.jsonl", lambda name: lambda folder: os.mkfifo(folder / name)),
    "is a link to itself": ("bad.jsonl", _link("bad.jsonl")),
    "is a link to nothing": ("bad.jsonl", _link("nowhere")),
    "cannot be read": ("bad.jsonl", _link("/proc/self/mem")),
    "is a device without end": ("bad.txt", _link("/dev/zero")),
    "an ending that says nothing": ("bad.xml", lambda name: damaged.data(name, ROWS)),
    "no ending": ("bad", lambda name: damaged.data(name, ROWS)),
    "text called Parquet": ("bad.parquet", lambda name: damaged.data(name, ROWS)),
}


def cases() -> Iterator[Case]:
    wrong: dict[str, dict[str, Any]] = {"jsonl": JSONL, "csv": CSV, "tsv": TSV, "txt": TXT, "jsonl.gz": GZ}
    for ending, contents in wrong.items():
        for name, content in contents.items():
            file = f"bad.{ending}"
            yield Case("rows", f"{ending}: {name}", _holding(file, content), (*ENCODE, file), DATA)
    sound = {"jsonl": SOUND_JSONL, "csv": SOUND_CSV, "tsv": SOUND_TSV, "txt": SOUND_TXT, "jsonl.gz": SOUND_GZ}
    for ending, acceptable in sound.items():
        for name, (content, texts) in acceptable.items():
            file = f"odd.{ending}"
            then = holds(lambda _, texts=texts: texts, file)
            yield Case("rows", f"{ending}, sound: {name}", damaged.data(file, content), (*ENCODE, file), 0, then=then)
    for name, content in IDS.items():
        command = (*ENCODE, "bad.jsonl", "--ids", "id")
        yield Case("rows", f"ids: {name}", damaged.data("bad.jsonl", content), command, DATA)
    for name, (file, spoil) in PLACES.items():
        yield Case("rows", f"place: {name}", spoil(file), (*ENCODE, file), DATA)
    for ending, plain in READERS.items():
        for seed in range(8 if ending == "jsonl.gz" else 14):
            file = f"texts.{ending}"
            yield Case(
                *("rows", f"{ending}: changed bytes {seed}", _changed(file, seed), (*ENCODE, file), DATA, (file,)),
                then=holds(plain, file),
                either=True,
            )
    for ending in READERS:
        file = f"texts.{ending}"
        yield Case("rows", f"{ending}: as it was", lambda _: None, (*ENCODE, file), 0, (file,), then=holds(_all, file))


def _holding(file: str, content: bytes | Callable[[], bytes]) -> Spoil:
    return lambda folder: (folder / file).write_bytes(content() if callable(content) else content)


def _changed(file: str, seed: int) -> Spoil:
    return lambda folder: (folder / file).write_bytes(bytewise((folder / file).read_bytes(), seed))


def holds(plain: Callable[[bytes], list[str]], file: str) -> Check:
    """The vectors are those of the texts that another reader finds."""

    def check(folder: Path, done: Done) -> None:
        try:
            texts = plain((folder / file).read_bytes())
        except (ValueError, KeyError, TypeError, csv.Error, EOFError, OSError) as error:
            raise AssertionError(f"another reader refuses it: {error}") from error
        assert_vectors(vectors(folder), texts)

    return check


def _all(content: bytes) -> list[str]:
    return TEXTS


def _decoded(content: bytes) -> str:
    return content.decode("utf-8-sig")


def _jsonl(content: bytes) -> list[str]:
    rows = [json.loads(line) for line in _decoded(content).rstrip().split("\n")]
    return [_text(row["text"]) for row in rows]


def _csv(content: bytes) -> list[str]:
    names, *rows = csv.reader(io.StringIO(_decoded(content).rstrip("\r\n"), newline=""), strict=True)
    if len(set(names)) < len(names) or any(len(row) != len(names) for row in rows):
        raise ValueError("rows of another width")
    return [_text(row[names.index("text")]) for row in rows]


def _tsv(content: bytes) -> list[str]:
    names, *rows = (line.rstrip("\r").split("\t") for line in _decoded(content).rstrip().split("\n"))
    if len(set(names)) < len(names) or any(len(row) != len(names) for row in rows):
        raise ValueError("rows of another width")
    return [_text(row[names.index("text")]) for row in rows]


def _txt(content: bytes) -> list[str]:
    return [_text(line.rstrip("\r")) for line in _decoded(content).rstrip().split("\n")]


def _text(value: str) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("no text")
    return value


READERS: dict[str, Callable[[bytes], list[str]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _tsv,
    "txt": _txt,
    "jsonl.gz": lambda content: _jsonl(gzip.decompress(content)),
}
