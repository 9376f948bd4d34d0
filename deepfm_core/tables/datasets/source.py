"""What names a table: one file of this machine, or a dataset of many files, here or elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

PATTERN = re.compile(r"[*?\[]")
URI = re.compile(r"^([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)
WEB = re.compile(r"https?://", re.IGNORECASE)
QUERY = re.compile(r"\?[\w.-]+=.*$")
"""What a URI says of its file system, such as a region."""
_USER = re.compile(r"(?<=://)(?:[^/@:]*:[^?#]*@|[^/?#]*@|[^/@:]*:(?!\d*[/?#]).*?@)")
"""Who reads it, and the password, in which there may be any letter."""
_ASKED = re.compile(r"(?<=://)([^?#]*)[?#].*$", re.DOTALL)


def is_uri(source: str) -> bool:
    """Say whether a text names something by a scheme, as `s3://bucket/folder` does."""
    return URI.match(source) is not None


def as_uri(source: Path | str) -> str:
    """Write a source as text; a URI that was taken for a path has its second slash again."""
    text = str(source)
    match = URI.match(text)
    return f"{match[1]}:{'///' if match[1] == 'file' else '//'}{text[match.end() :]}" if match else text


def is_dataset(source: Path | str) -> bool:
    """Say whether a source is a table of many files, rather than one file of this machine."""
    text = str(source)
    return is_uri(text) or Path(text).is_dir() or (PATTERN.search(text) is not None and not Path(text).exists())


def is_web(source: str) -> bool:
    """Say whether a text is the address of one file on a web server, in which `?` begins what is asked of it."""
    return WEB.match(source) is not None


def without_secrets(text: str) -> str:
    """Leave out of a text what an address in it may hold of secrets: user, password, and what is asked with it."""
    named = _USER.sub("", text)
    return _ASKED.sub(r"\1", named) if WEB.search(named) else QUERY.sub("", named)


def name_of(source: Path | str) -> str:
    """Name a dataset in messages, without what a URI may hold of secrets."""
    text = as_uri(source)
    return without_secrets(text).rstrip("/") if is_uri(text) else text.rstrip("/") or text
