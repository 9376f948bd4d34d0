"""Read a file's bytes as UTF-8: decompress and decode them, without the byte order mark, in bounded memory.

Start with `survey`, which reads the file once and returns its `Content`; `Content.open` then reads it as UTF-8. Files
that are no text are refused with a sentence about what they are.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from deepfm_core.errors import Problem, TableError

CHUNK = 4 << 20
"""Bytes read at a time while a file is surveyed."""

_GZIP = b"\x1f\x8b"
# UTF-32's little-endian mark begins with UTF-16's, so it comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# First bytes of files that are no text, what they are, and the remedy.
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive within gzip", "Unpack it."),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "Save the sheet as CSV."),
    (b"BZh", "a bzip2 archive", "Unpack it, or compress it with gzip."),
    (b"\xfd7zXZ", "an xz archive", "Unpack it, or compress it with gzip."),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it, or compress it with gzip."),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it, or compress it with gzip."),
    (b"%PDF", "a PDF document", "Export the table as CSV."),
    (b"ARROW1", "an Arrow file within gzip", "Unpack it."),
    (b"ORC", "an ORC file", "Save the table as Parquet or CSV."),
    (b"SQLite format 3", "a SQLite database", "Export the table as CSV."),
    (_GZIP, "compressed with gzip twice", "Unpack it once."),
    (b"PAR1", "a Parquet file within gzip", "Unpack it."),
)
# Control characters that no text contains. It may contain tabs, line ends, form feeds, escapes, and the delimiters of
# Hive (U+0001 to U+0003) and of ASCII (U+001F).
_CONTROLS = bytes(code for code in range(32) if code not in b"\x01\x02\x03\t\n\x0b\x0c\r\x1b\x1f")
_C1 = bytes(range(0x80, 0xA0))  # control characters in Latin-1, letters and quotes in cp1252
_NOT_CP1252 = b"\x81\x8d\x8f\x90\x9d"  # bytes without a meaning in cp1252
_WORD = re.compile(rb"[^\x00-\x3f]*[\x80-\xff][^\x00-\x3f]*")
"""Bytes from @ on, one of them beyond ASCII. Letters of _SCRIPTS have no smaller bytes, rare ones of GB18030 apart."""
_WORDS_SEEN = 4_000
"""Words that an encoding is told by, at most."""
_LONGEST_WORD = 256
_SCRIPTS = ("gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1251", "koi8_r")
"""Encodings of Chinese, Japanese, Korean and Cyrillic that a table may be in."""
_WESTERN_SHARE = 0.45
"""Western words have fewer bytes beyond ASCII: "Größe" 2 in 5. A word in another script has half of them or more."""


@dataclass(frozen=True)
class Content:
    """A text file that has been read once to the end, so that opening it again as UTF-8 cannot fail."""

    path: Path
    compression: str | None
    encoding: str
    """The codec that decodes the decompressed bytes, after the byte order mark."""
    size: int
    """Bytes after decompression."""
    quoted_until: int
    """No quotation mark comes at or after this byte of its UTF-8; 0 if there is none at all."""
    escapes: bool = False
    """Whether a backslash stands before a quotation mark."""
    replaced: int = 0
    """Bytes that are not valid in the encoding and are read as U+FFFD."""
    lines: int = 0
    """Lines that end with a line feed, up to the last one that is not empty."""

    def open(self) -> BinaryIO:
        """Open the text from its start, as UTF-8 without byte order mark."""
        raw = _decompressed(self.path, self.compression)
        if self.encoding.startswith("utf-8") and not self.replaced:
            if self.encoding == "utf-8-sig":
                raw.read(len(codecs.BOM_UTF8))
            return raw
        return _transcoded(raw, self.encoding, "replace" if self.replaced else "strict")


def survey(path: Path, subject: str, max_bytes: int | None = None, said: str | None = None) -> Content:
    """Read a file once to the end, and find its compression, encoding and size; check that all of it is text.

    Args:
        path: of the file.
        subject: what messages call it.
        max_bytes: the largest size allowed, before and after decompression.
        said: the encoding where a person names it; bytes that are not valid in it are replaced and counted.

    Raises:
        TableError: the file is binary, cut short, or larger than `max_bytes` when decompressed.
    """
    compression = "gzip" if _start(path, None).startswith(_GZIP) else None
    try:
        head = _start(path, compression)
        _refuse_foreign(head, subject)
        encoding = guessed(head) if said is None else _marked(said, head)
        errors = "strict" if said is None else "replace"
        census = _Census()
        for chunk in _chunks(path, compression, encoding, errors):
            census.add(chunk)
            refuse_size(census.size, max_bytes, subject)
            if census.binary:
                raise TableError(subject, [_binary(census, _chunks(path, compression, encoding, errors))])
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problem = Problem("the gzip file is damaged or cut short", "Compress or download it again.", value=str(error))
        raise TableError(subject, [problem]) from error
    except UnicodeDecodeError as error:
        problem = Problem(f"the text is not valid {error.encoding}", "Save it as UTF-8.", value=error.reason)
        raise TableError(subject, [problem]) from error
    encoding, replaced = census.settle(encoding, said=said is not None)
    if said is None and encoding in ("latin-1", "cp1252"):
        encoding = _of_another_script(path, compression, census.words) or encoding
    return Content(
        path, compression, encoding, census.size, census.quoted_until, census.escapes, replaced, census.lines
    )


def refuse_size(size: int, max_bytes: int | None, subject: str) -> None:
    """Raise a TableError if `size` bytes are more than `max_bytes`."""
    if max_bytes is not None and size > max_bytes:
        message = f"the table is larger than the limit of {max_bytes / 1e6:,.0f} MB"
        remedy = "Use a sample of its rows, fewer columns, or a higher limit."
        raise TableError(subject, [Problem(message, remedy, value=f"{size / 1e6:,.1f} MB")])


MOST_COLUMNS = 2_000
"""Columns of a table that is read: each costs work on every page, and all pairs of them are looked at."""


def refuse_columns(count: int, subject: str) -> None:
    """Raise a TableError if a table has more than `MOST_COLUMNS` columns; call it before the costly work."""
    if count > MOST_COLUMNS:
        message = f"the table has more columns than the limit of {MOST_COLUMNS:,}"
        remedy = "Leave out those that you do not need, or join many flags into one column of lists."
        raise TableError(subject, [Problem(message, remedy, value=f"{count:,} columns")])


class _Census:
    """The counts of one pass over the bytes, from which the encoding is decided."""

    def __init__(self) -> None:
        self.size = 0
        self.quoted_until = 0
        self.escapes = False
        self.nul = False
        self.lines = 0
        """Lines up to the last one that is not empty."""
        self._line_ends = 0
        self.words: list[bytes] = []
        """Some words with bytes beyond ASCII, of text that is not UTF-8."""
        self._controls = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = False
        self._foreign = 0
        self._undecodable = 0
        self._replaced = 0
        """U+FFFD in the text, which stands for what could not be decoded."""
        self._c1 = False
        self._not_cp1252 = False

    def add(self, chunk: bytes) -> None:
        """Count one chunk; the empty chunk ends the file."""
        if (last_quote := chunk.rfind(b'"')) >= 0:
            self.quoted_until = self.size + last_quote + 1
            self.escapes = self.escapes or b'\\"' in chunk
        self.nul = b"\0" in chunk
        self._line_ends += chunk.count(b"\n")
        if held := chunk.rstrip(b"\r\n"):
            self.lines = self._line_ends - chunk.count(b"\n", len(held)) + 1
        if self.size == 0:
            start = chunk[:65536]
            self._controls = len(start) - len(start.translate(None, _CONTROLS))
        self.size += len(chunk)
        if self._pending or not chunk.isascii():
            self._decode(chunk)

    @property
    def binary(self) -> bool:
        """Whether the bytes so far cannot be text: a NUL, or 2% control characters at the start."""
        return self.nul or self._controls > 0.02 * min(self.size, 65536)

    def _decode(self, chunk: bytes) -> None:
        text = self._decoder.decode(chunk, final=not chunk)
        self._pending = bool(self._decoder.getstate()[0])  # the chunk ends within a character
        self._foreign += len(text) - len(text.encode("ascii", "ignore"))
        # U+FFFD that the file itself contains does not count.
        replaced = chunk.count("\ufffd".encode())
        self._replaced += replaced
        if undecodable := text.count("\ufffd") - replaced:
            self._undecodable += undecodable
            self._take_words(chunk)
        self._c1 = self._c1 or len(chunk.translate(None, _C1)) < len(chunk)
        self._not_cp1252 = self._not_cp1252 or len(chunk.translate(None, _NOT_CP1252)) < len(chunk)

    def _take_words(self, chunk: bytes) -> None:
        """Keep the words of whole lines: the chunk may begin or end within a letter."""
        start = 0 if self.size == len(chunk) else chunk.find(b"\n") + 1
        end = chunk.rfind(b"\n") + 1
        found = _WORD.finditer(chunk, start, end if end > start else len(chunk))
        self.words += [word.group()[:_LONGEST_WORD] for word in islice(found, _WORDS_SEEN - len(self.words))]

    def settle(self, guess: str, *, said: bool) -> tuple[str, int]:
        """Return the encoding, and the number of characters that must be replaced, after the last chunk.

        Args:
            guess: the encoding that the bytes were read in.
            said: whether a person named it.
        """
        if self._undecodable == 0:
            return guess, self._replaced if said and not guess.startswith("utf-8") else 0
        self.quoted_until *= 3  # a byte of another encoding becomes up to three of UTF-8
        # With a mark, or 20 valid non-ASCII characters for each invalid one, it is damaged UTF-8.
        if said or guess == "utf-8-sig" or self._foreign - self._undecodable > 20 * self._undecodable:
            return guess, self._undecodable
        return ("cp1252" if self._c1 and not self._not_cp1252 else "latin-1"), 0


class _Transcoder(io.RawIOBase):
    """A stream in any encoding that is read as UTF-8."""

    def __init__(self, raw: BinaryIO, encoding: str, errors: str) -> None:
        self._raw = raw
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._rest = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest and not self._ended:
            chunk = self._raw.read(1 << 20)
            self._ended = not chunk
            self._rest = self._decoder.decode(chunk, final=self._ended).encode("utf-8", "replace")
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _transcoded(raw: BinaryIO, encoding: str, errors: str) -> BinaryIO:
    return io.BufferedReader(_Transcoder(raw, encoding, errors), 1 << 20)


def _decompressed(path: Path, compression: str | None) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if compression else path.open("rb")


def _start(path: Path, compression: str | None) -> bytes:
    with closing(_decompressed(path, compression)) as raw:
        return raw.read(4096)


def _chunks(path: Path, compression: str | None, encoding: str, errors: str) -> Iterator[bytes]:
    """Yield the text in pieces, and an empty piece at the end. Text that is assumed to be UTF-8 is not decoded yet."""
    with closing(_decompressed(path, compression)) as raw:
        stream = raw if encoding.startswith("utf-8") else _transcoded(raw, encoding, errors)
        while chunk := stream.read(CHUNK):
            yield chunk
        yield b""


def guessed(head: bytes) -> str:
    """Guess the encoding from a byte order mark or, for UTF-16 without one, from the positions of NUL bytes."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # In UTF-16, the high byte of every Western letter is NUL: all odd bytes if little-endian, all even ones if big.
    even, odd = head[::2].count(0), head[1::2].count(0)
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if zeros and others == 0 and _is_table(head[: len(head) // 2 * 2].decode(encoding, "replace"), zeros):
            return encoding
    return "utf-8"


def _marked(said: str, head: bytes) -> str:
    """Return the codec of an encoding that a person names, which passes over the byte order mark if there is one."""
    unmarked = {"utf-16-le": "utf-16", "utf-16-be": "utf-16", "utf-32-le": "utf-32", "utf-32-be": "utf-32"}
    marked = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "")
    if marked and marked.removesuffix("-sig") == unmarked.get(said, said).removesuffix("-sig"):
        return marked
    if said in ("utf-16", "utf-32"):  # without a mark, Python's codec of this name stops
        return guess if (guess := guessed(head)).startswith(said) else f"{said}-le"
    return said.removesuffix("-sig")


def _of_another_script(path: Path, compression: str | None, words: list[bytes]) -> str | None:
    """Name the encoding of _SCRIPTS that the words are in and that all of the file can be read in; None for none."""
    long = b"".join(word for word in words if len(word) > 3)
    if len(long.translate(None, bytes(range(0x80)))) <= _WESTERN_SHARE * len(long):
        return None
    from charset_normalizer import from_bytes  # 50 ms, which a table in UTF-8 does not wait for

    best = from_bytes(b"\n".join(words), cp_isolation=list(_SCRIPTS)).best()
    if best is None or best.encoding not in _SCRIPTS:
        return None
    try:
        with closing(_decompressed(path, compression)) as raw, _transcoded(raw, best.encoding, "strict") as stream:
            while stream.read(CHUNK):
                pass
    except UnicodeDecodeError:
        return None
    return best.encoding.replace("_", "-")


def _is_table(text: str, zeros: int) -> bool:
    """Return whether the start of a file, decoded as UTF-16, is a table or mostly Western text."""
    if "\ufffd" in text[:-1] or any(letter < " " and letter not in "\t\r\n" for letter in text):
        return False
    return 2 * zeros > len(text) or (any(end in text for end in "\r\n") and any(sign in text for sign in ",\t;|"))


def _refuse_foreign(head: bytes, subject: str) -> None:
    for magic, what, remedy in _FOREIGN:
        if head.startswith(magic):
            raise TableError(subject, [Problem(f"the file is {what}, not a table of text", remedy)])
    if head[257:262] == b"ustar":
        raise TableError(subject, [Problem("the file is a tar archive, not a table of text", "Unpack it.")])
    start = head.lstrip()[:9].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        remedy = "Download the table itself, or export it as CSV."
        raise TableError(subject, [Problem("the file is a web page or XML, not a table of text", remedy)])


def _binary(census: _Census, chunks: Iterator[bytes]) -> Problem:
    remedy = "Export the table as CSV or Parquet; renaming a file does not convert it."
    return Problem("the file is binary, not text", remedy, line=_line_of_nul(chunks) if census.nul else None)


def _line_of_nul(chunks: Iterator[bytes]) -> int:
    line = 1
    for chunk in chunks:
        before = chunk.partition(b"\0")[0]
        line += max(before.count(b"\n"), before.count(b"\r"))
        if len(before) < len(chunk):
            break
    return line
