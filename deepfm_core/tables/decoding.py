"""Read a file's bytes as UTF-8: decompress and decode them, without the byte order mark, in bounded memory.

Start with `survey`, which reads the file once and returns its `Content`; `Content.open` then reads it as UTF-8. Files
that are no text are refused with a sentence about what they are.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import unicodedata
import zlib
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from deepfm_core.errors import REASON, Problem, TableError

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
_C1_LETTERS = re.compile("[\x80-\x9f]")
_CP1252 = {code: bytes([code]).decode("cp1252") for code in range(0x80, 0xA0) if code not in _NOT_CP1252}
"""What each control character of Latin-1 is in Windows-1252."""
_WORD = re.compile(rb"[^\x00-\x3f]*[\x80-\xff][^\x00-\x3f]*")
"""Bytes from @ on, one of them beyond ASCII. Letters of _SCRIPTS have no smaller bytes, rare ones of GB18030 apart."""
_WORDS_SEEN = 4_000
"""Words that an encoding is told by, at most."""
_LONGEST_WORD = 256
_SCRIPTS = (
    *("gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1251", "koi8_r", "cp866", "iso8859_5"),
    *("cp1253", "iso8859_7", "cp1255", "cp1256", "cp874"),
)
"""Encodings of Chinese, Japanese, Korean, Cyrillic, Greek, Hebrew, Arabic and Thai that a table may be in."""
_MANY_BYTES = frozenset({"gb18030", "big5", "cp932", "euc_jp", "cp949"})
"""Those in which a letter has several bytes, so that few other texts are valid in them."""
_CYRILLIC = frozenset({"cp1251", "koi8_r"})
_WHOLLY_SHARE = 0.8
"""Share of bytes beyond ASCII from which words are in another script, like a language or not."""
_LEAST_COHERENCE, _MOST_MIXED = 0.1, 0.1
"""How much of a text in one byte a letter must be like a language, Cyrillic of Windows and KOI8-R apart, and how many
words may mix its letters with Latin ones or be odd otherwise."""
_LATIN = ("cp1250", "iso8859_2", "cp850", "mac_roman")
"""Encodings of Latin letters that a table may be in beside Windows-1252: those of Central Europe, DOS and Macintosh."""
_TURKISH, _NORDIC = "þðýÞÐÝ", "áíóúæÁÍÓÚÆ"
"""Letters that stand for Turkish ones where none of those stands beside them that Icelandic has."""
_ODD_SHARE, _MUCH_LESS = 0.02, 0.2
"""Share of odd words from which Windows-1252 is doubted, and what part of it another encoding may have."""
_WESTERN_SHARE = 0.45
"""Western words have fewer bytes beyond ASCII: "Größe" 2 in 5. A word in another script has half of them or more."""


UNIT = "\x1f"
"""The control character that stands between cells, and in texts for people never."""


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
    controls: int = 0
    """Control characters in UTF-8 that are read as the marks and letters which Windows-1252 has in their place."""
    twofold: str = ""
    """A delimiter of two characters, such as `::`, which is read as `UNIT`; empty where there is none."""

    def open(self) -> BinaryIO:
        """Open the text from its start, as UTF-8 without byte order mark."""
        raw = self._open()
        return cast(BinaryIO, io.BufferedReader(_Replacing(raw, self.twofold), 1 << 20)) if self.twofold else raw

    def _open(self) -> BinaryIO:
        raw = _decompressed(self.path, self.compression)
        if self.encoding.startswith("utf-8") and not self.replaced and not self.controls:
            if self.encoding == "utf-8-sig":
                raw.read(len(codecs.BOM_UTF8))
            return raw
        letters = _CP1252 if self.controls else None
        return _transcoded(raw, self.encoding, "replace" if self.replaced else "strict", letters)


def _unheard(_size: int) -> None:
    """Say nothing."""


def survey(
    path: Path,
    subject: str,
    max_bytes: int | None = None,
    said: str | None = None,
    heard: Callable[[int], None] = _unheard,
) -> Content:
    """Read a file once to the end, and find its compression, encoding and size; check that all of it is text.

    Args:
        path: of the file.
        subject: what messages call it.
        max_bytes: the largest size allowed, before and after decompression.
        said: the encoding where a person names it; bytes that are not valid in it are replaced and counted.
        heard: takes the bytes looked at so far, after decompression.

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
            heard(census.size)
            if census.binary:
                raise TableError(subject, [_binary(census, _chunks(path, compression, encoding, errors))])
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problem = Problem(
            "the gzip file is damaged or cut short", "Compress or download it again.", value=str(error), how=REASON
        )
        raise TableError(subject, [problem]) from error
    except UnicodeDecodeError as error:
        problem = Problem(
            f"the text is not valid {error.encoding}", "Save it as UTF-8.", value=error.reason, how=REASON
        )
        raise TableError(subject, [problem]) from error
    encoding, replaced = census.settle(encoding, said=said is not None)
    if said is None and encoding in ("latin-1", "cp1252"):
        found = _of_another_script(census.words) or _of_latin(census.words, encoding)
        encoding = found if _is_valid(path, compression, found) else encoding
    controls = census.controls if said is None else 0
    quoted_until = census.quoted_until * 2 if controls else census.quoted_until  # three bytes in place of two
    return Content(
        path, compression, encoding, census.size, quoted_until, census.escapes, replaced, census.lines, controls
    )


def refuse_size(size: int, max_bytes: int | None, subject: str) -> None:
    """Raise a TableError if `size` bytes are more than `max_bytes`."""
    if max_bytes is not None and size > max_bytes:
        message = f"the table is larger than the limit of {max_bytes / 1e6:,.0f} MB"
        remedy = "Use a sample of its rows, fewer columns, or a higher limit."
        raise TableError(subject, [Problem(message, remedy, value=f"{size / 1e6:,.1f} MB")])


MOST_COLUMNS = 2_000
"""Columns of a table that is read: each costs work on every page, and all pairs of them are looked at."""
MOST_LETTERS = 1_000
"""Characters of a column's name: it stands in every chart, table and address that is of its field."""


def refuse_columns(names: Collection[str], subject: str) -> None:
    """Raise a TableError if these are too many names of columns, or one is too long; call it before the costly work."""
    if len(names) > MOST_COLUMNS:
        message = f"the table has more columns than the limit of {MOST_COLUMNS:,}"
        remedy = "Leave out those that you do not need, or join many flags into one column of lists."
        raise TableError(subject, [Problem(message, remedy, value=f"{len(names):,} columns")])
    longest = max(names, key=len, default="")
    if len(longest) > MOST_LETTERS:
        message = f"the name of a column has {len(longest):,} characters, more than the limit of {MOST_LETTERS:,}"
        raise TableError(subject, [Problem(message, "Shorten it, or add a header line.", value=longest)])


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
        self._controls_c1, self._next_lines, self._has_meaningless = 0, 0, False

    def add(self, chunk: bytes) -> None:
        """Count one chunk; the empty chunk ends the file."""
        if (last_quote := chunk.rfind(b'"')) >= 0:
            self.quoted_until = self.size + last_quote + 1
            self.escapes = self.escapes or (b"\\" in chunk and b'\\"' in chunk)  # one byte is found much faster
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
        if b"\xc2" in chunk:
            self._count_controls(text)
        self._c1 = self._c1 or len(chunk.translate(None, _C1)) < len(chunk)
        self._not_cp1252 = self._not_cp1252 or len(chunk.translate(None, _NOT_CP1252)) < len(chunk)

    def _count_controls(self, text: str) -> None:
        found = _C1_LETTERS.findall(text)
        self._controls_c1 += len(found)
        self._next_lines += found.count("\x85")
        self._has_meaningless = self._has_meaningless or any(ord(letter) in _NOT_CP1252 for letter in found)

    @property
    def controls(self) -> int:
        """Control characters of UTF-8 that are letters of Windows-1252, which another program took for Latin-1.

        A mere U+0085 may be the end of a line.
        """
        is_utf8 = self._undecodable == 0 and self._controls_c1 > self._next_lines
        return self._controls_c1 if is_utf8 and not self._has_meaningless else 0

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


class _Rewritten(io.RawIOBase):
    """A stream that is read as other bytes than it holds, a chunk at a time."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._rest = b""
        self._ended = False

    @abstractmethod
    def _next(self, chunk: bytes, *, final: bool) -> bytes:
        """Give what is read in place of a chunk. The last one is empty, and `final`."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest and not self._ended:
            chunk = self._raw.read(1 << 20)
            self._ended = not chunk
            self._rest = self._next(chunk, final=self._ended)
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Transcoder(_Rewritten):
    """A stream in any encoding that is read as UTF-8."""

    def __init__(self, raw: BinaryIO, encoding: str, errors: str, letters: dict[int, str] | None) -> None:
        super().__init__(raw)
        self._letters = letters
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)

    def _next(self, chunk: bytes, *, final: bool) -> bytes:
        text = self._decoder.decode(chunk, final=final)
        return (text.translate(self._letters) if self._letters else text).encode("utf-8", "replace")


class _Replacing(_Rewritten):
    """A stream of UTF-8 whose delimiters of two characters are read as `UNIT`."""

    def __init__(self, raw: BinaryIO, twofold: str) -> None:
        super().__init__(raw)
        self._mark, self._open_end = twofold.encode(), b""

    def _next(self, chunk: bytes, *, final: bool) -> bytes:
        *whole, last = (self._open_end + chunk).split(self._mark)
        # The second half of a delimiter may follow in the next chunk.
        self._open_end = self._mark[:1] if not final and last.endswith(self._mark[:1]) else b""
        return UNIT.encode().join([*whole, last.removesuffix(self._open_end)])


def _transcoded(raw: BinaryIO, encoding: str, errors: str, letters: dict[int, str] | None = None) -> BinaryIO:
    return io.BufferedReader(_Transcoder(raw, encoding, errors, letters), 1 << 20)


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
    if b"\x1b$B" in head or b"\x1b$@" in head:
        return "iso2022-jp"
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


def _of_another_script(words: list[bytes]) -> str | None:
    """Name the encoding of _SCRIPTS that the words are in; None for none."""
    if usual := _of_usual_words(words):
        return usual
    long = b"".join(word for word in words if len(word) > 3)
    beyond = len(long.translate(None, bytes(range(0x80))))
    if beyond <= _WESTERN_SHARE * len(long):
        return None
    from charset_normalizer import from_bytes  # 50 ms, which a table in UTF-8 does not wait for

    best = from_bytes(b"\n".join(words), cp_isolation=[*_SCRIPTS]).best()
    name = best.encoding if best is not None else ""
    is_language = best is not None and best.coherence > 0 and sum(map(len, set(words))) >= _FEWEST_BYTES
    wholly = beyond > _WHOLLY_SHARE * len(long)
    if not (is_language and name in _MANY_BYTES) and (found := _of_common_letters(words)):
        return _of_frequent_letters(words, _CASED) or found  # too few words to be known as a language
    if wholly and not is_language and (found := _of_frequent_letters(words, _FREQUENT)):
        return found
    if best is None or name not in _SCRIPTS:
        return None
    if name not in _MANY_BYTES and _is_doubtful(words, name, 1.0 if wholly else best.coherence):
        return None
    return name.replace("_", "-")


def _of_usual_words(words: list[bytes]) -> str | None:
    """Name the encoding in which words say yes or no, or the like; None for none: too short for any other sign."""
    distinct = set(words)
    counts = {encoding: len(usual & distinct) for encoding, usual in _usual_words().items()}
    best = max(counts, key=counts.__getitem__)
    others = max(count for encoding, count in counts.items() if encoding != best)
    sure = 2 * counts[best] >= len(distinct) or (counts[best] > 1 and not others and len(distinct) <= _FEW_WORDS)
    return best.replace("_", "-") if counts[best] > others and sure else None


_FEW_WORDS = 50
"""Distinct words among which two of these are no chance."""


@cache
def _usual_words() -> dict[str, set[bytes]]:
    """Encode _USUAL, also in capitals."""
    return {
        encoding: {form.encode(encoding) for word in text.split() for form in (word, word.upper(), word.title())}
        for encodings, text in _USUAL.items()
        for encoding in encodings
    }


_USUAL = {
    ("cp1251", "koi8_r", "cp866", "iso8859_5"): "да нет не муж жен мужской женский",
    ("cp1253",): "ναι όχι άνδρας γυναίκα",
    ("cp1255",): "כן לא זכר נקבה",
    ("cp1256",): "نعم لا ذكر أنثى",
    ("cp874",): "ใช่ ไม่ ไม่ใช่ ชาย หญิง",
    ("gb18030",): "是 否 男 女 有 无",
    ("big5",): "是 否 男 女 有 無",
    ("cp932", "euc_jp"): "はい いいえ 男 女 男性 女性 有 無",
    ("cp949",): "예 아니오 아니요 남 여 남성 여성",
}
"""Words for yes and no, male and female, with and without: a column of these alone may be all that is beyond ASCII."""


def _of_frequent_letters(words: list[bytes], encodings: Iterable[str]) -> str | None:
    """Name the encoding of one byte a letter in which the frequent letters of its language are frequent; None for none.

    Capitals in one are small letters in another: `МОСКВА` in Windows-1251 is `лняйбю` in KOI8-R.
    """
    shares = {encoding: _share_of_frequent(words, encoding) for encoding in encodings}
    encoding = max(shares, key=shares.__getitem__)
    return encoding.replace("_", "-") if shares[encoding] >= _OFTEN_FREQUENT else None


def _share_of_frequent(words: list[bytes], encoding: str) -> float:
    """Return the share of frequent letters; 0 of few letters, of other marks, and of capitals within words."""
    texts = [word.decode(encoding, "replace") for word in set(words)]
    first, last, frequent = _FREQUENT[encoding]
    marks = [mark for text in texts for mark in text.lower() if not mark.isascii()]
    cased = sum(text.isupper() or text.islower() or text.istitle() or text.lower() == text.upper() for text in texts)
    letters = sum(first <= mark <= last for mark in marks)
    if letters < _FEWEST_LETTERS or letters < _MOSTLY_COMMON * len(marks) or cased < _MOSTLY_COMMON * len(texts):
        return 0.0
    return sum(mark in frequent for mark in marks) / len(marks)


_FREQUENT = {
    "cp1251": ("а", "ё", "оеаинтсрвл"),
    "koi8_r": ("а", "ё", "оеаинтсрвл"),
    "cp1253": ("ά", "ώ", "αοιετσςνηυρ"),
    "cp866": ("а", "ё", "оеаинтсрвл"),
    "iso8859_5": ("а", "ё", "оеаинтсрвл"),
    "cp1255": ("א", "ת", "יוהלארתבמנ"),
    "cp1256": ("ء", "ي", "اليمنروتبه"),
    "cp874": ("ก", "๛", "านรกเงอม่้"),
}
"""The first and the last small letter of a language, in the order of Unicode, and its ten most frequent ones."""
_FEWEST_BYTES = 60
"""Bytes of distinct words from which letters as frequent as in a language are no chance."""
_CASED = ("cp1251", "koi8_r", "cp1253")
_FEWEST_LETTERS = 6
"""Letters of distinct words from which they tell a language: two Chinese letters are four."""
_OFTEN_FREQUENT = 0.4
"""In words of the language it is six letters of ten; in other letters three or four."""


def _of_common_letters(words: list[bytes]) -> str | None:
    """Name the encoding in which the words have common letters alone; None for none.

    The first one is taken: what is Korean in all its letters would be Chinese by chance, and what is Chinese Japanese.
    """
    for encoding, common in _COMMON.items():
        try:
            texts = [word.decode(encoding) for word in words]
        except UnicodeDecodeError:
            continue
        letters = [letter for text in texts for letter in text if letter.isalpha() and not letter.isascii()]
        if letters and sum(map(common, letters)) >= _MOSTLY_COMMON * sum(not mark.isascii() for mark in "".join(texts)):
            return encoding.replace("_", "-")
    return None


def _among(charset: str, first: int, last: int) -> Callable[[str], bool]:
    """Make a test of letters: whether a character set has them between two of its rows."""

    def is_common(letter: str) -> bool:
        place = letter.encode(charset, "ignore")
        return len(place) == 2 and first <= place[0] <= last

    return is_common


def _is_japanese(letter: str) -> bool:
    return "\u3041" <= letter <= "\u30fe" or _LEVEL_ONE(letter)


def _is_russian(letter: str) -> bool:
    return "а" <= letter <= "я"


_LEVEL_ONE = _among("euc_jp", 0xB0, 0xCF)
_COMMON = {
    "cp949": _among("euc_kr", 0xB0, 0xC8),
    "gb18030": _among("gb2312", 0xB0, 0xD7),
    "euc_jp": _is_japanese,
    "big5": _among("big5", 0xA4, 0xC6),
    "cp932": _is_japanese,
    "koi8_r": _is_russian,
}
"""Which letters are common in an encoding: Hangul, Chinese letters of the first level, Russian small letters."""
_MOSTLY_COMMON = 0.9


def _is_valid(path: Path, compression: str | None, encoding: str) -> bool:
    """Return whether all of a file can be read in an encoding."""
    if encoding == "latin-1":
        return True  # every byte is a letter in it
    try:
        with closing(_decompressed(path, compression)) as raw, _transcoded(raw, encoding, "strict") as stream:
            while stream.read(CHUNK):
                pass
    except UnicodeDecodeError:
        return False
    return True


def _is_doubtful(words: list[bytes], encoding: str, coherence: float) -> bool:
    texts = [word.decode(encoding, "replace") for word in words]
    mixed = sum(_is_odd(text) or (bool(re.search("[A-Za-z]", text)) and not text.isascii()) for text in texts)
    return mixed > _MOST_MIXED * len(texts) or (encoding not in _CYRILLIC and coherence < _LEAST_COHERENCE)


def _of_latin(words: list[bytes], western: str) -> str:
    """Name the encoding of Latin letters in which the fewest words are odd; `western` unless another has far fewer."""
    texts = [word.decode(western, "replace") for word in words]
    letters = "".join(texts)
    if set(letters) & set(_TURKISH) and not set(letters) & set(_NORDIC):
        return "cp1254"
    odd = sum(map(_is_odd, texts))
    if odd < max(_ODD_SHARE * len(words), 1):
        return western
    counts = {name: sum(_is_odd(word.decode(name, "replace")) for word in words) for name in _LATIN}
    best = min(_LATIN, key=counts.__getitem__)
    return best.replace("_", "-") if counts[best] <= _MUCH_LESS * odd else western


def _is_odd(word: str) -> bool:
    """Return whether a word has a capital within small letters, or beside a letter what is none, such as `źród³o`."""
    for before, letter, after in zip(f" {word}", word, f"{word[1:]} ", strict=False):
        if letter.isascii():
            continue
        kind = unicodedata.category(letter)
        if kind in ("Lu", "Lt") and before.islower():
            return True
        beside = before.isalpha() or after.isalpha()
        if beside and (kind[0] in "SNC" or letter in "ªº\ufffd" or (kind[0] == "P" and _within(before, letter, after))):
            return True
    return False


def _within(before: str, mark: str, after: str) -> bool:
    return mark not in "’‘–—·" and before.isalpha() and after.isalpha()


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


def refuse_binary(head: bytes, subject: str) -> None:
    """Raise a TableError if the start of a file is neither text nor a file of columns, before the rest is unpacked."""
    if b"\0" in head and guessed(head) == "utf-8" and not head.startswith((*_COLUMNS, _GZIP, b"PK")):
        raise TableError(subject, [Problem(_BINARY, _EXPORT)])


_COLUMNS = (b"PAR1", b"ARROW1")
_BINARY = "the file is binary, not text"
_EXPORT = "Export the table as CSV or Parquet; renaming a file does not convert it."


def _binary(census: _Census, chunks: Iterator[bytes]) -> Problem:
    return Problem(_BINARY, _EXPORT, line=_line_of_nul(chunks) if census.nul else None)


def _line_of_nul(chunks: Iterator[bytes]) -> int:
    line = 1
    for chunk in chunks:
        before = chunk.partition(b"\0")[0]
        line += max(before.count(b"\n"), before.count(b"\r"))
        if len(before) < len(chunk):
            break
    return line
