"""Which files a server reads for its visitors: those below places that its operator names.

Start with `require_below`. A personal server without such places, the command line and the library read what the
machine's user may read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deepfm_core.errors import ASKED_FOR, Problem, TableError
from deepfm_core.tables.datasets.dataset import PATTERN, as_uri, is_uri, list_files, name_of


def require_below(source: str, allowed: Sequence[str]) -> None:
    """Refuse a source unless it, and each file that it names, lies below one of the `allowed` places.

    Links of the file system are followed first. Nothing outside is listed, so a refusal does not tell what is there.

    Args:
        source: a file, a folder, a pattern or a URI.
        allowed: absolute folders and URIs, as `store.limits.data_roots` gives them.

    Raises:
        TableError: it does not, or there are no such files.
    """
    text = as_uri(source)
    if is_uri(text) and not _is_local(text):
        fits = any(_is_below(text, root) for root in allowed if is_uri(root) and not _is_local(root))
    else:
        fits = _files_lie_below(
            source, _path_of(text), [_path_of(root).resolve() for root in allowed if _is_local(root)]
        )
    if not fits:
        raise _outside(source, allowed)


def _is_local(text: str) -> bool:
    return not is_uri(text) or urlsplit(text).scheme.lower() == "file"


def _path_of(text: str) -> Path:
    return Path(unquote(urlsplit(text).path) if is_uri(text) else text).absolute()


def _files_lie_below(source: str, path: Path, folders: Sequence[Path]) -> bool:
    if ".." in path.parts or not _is_within(_before_pattern(path), folders):
        return False
    return all(_is_within(Path(file.path), folders) for file in list_files(source)[1])


def _before_pattern(path: Path) -> Path:
    """Give the folder above the first name with a pattern; the path itself where there is none."""
    first = next((place for place, name in enumerate(path.parts) if PATTERN.search(name)), None)
    return path if first is None else Path(*path.parts[:first])


def _is_within(path: Path, folders: Sequence[Path]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(folder) for folder in folders)


def _is_below(text: str, root: str) -> bool:
    """Say whether an address lies below another one.

    It has the same scheme and host, letter for letter. It names no user, since `https://host%2F@other/` is of `other`,
    and asks nothing after `?`, where the server to connect to may stand.
    """
    asked, there = urlsplit(text), urlsplit(root)
    if (asked.scheme.lower(), asked.netloc) != (there.scheme.lower(), there.netloc):
        return False
    if any(sign in asked.netloc for sign in "@%") or any(sign in text for sign in ("?", "#", "\\", "::")):
        return False
    path, above = _segments(asked.path), _segments(there.path)
    return ".." not in path and len(path) > len(above) and path[: len(above)] == above


def _segments(path: str) -> list[str]:
    """Give the names of an address's path, as whoever decodes it once or more will read them."""
    while (plain := unquote(path)) != path:
        path = plain
    return [name for name in path.split("/") if name not in ("", ".")]


def _outside(source: str, allowed: Sequence[str]) -> TableError:
    places = ", ".join(f"`{name_of(root)}`" for root in allowed)
    remedy = f"Name files below {places}." if allowed else "Upload the file."
    return TableError("Table", [Problem("this server does not read it", remedy, value=name_of(source), how=ASKED_FOR)])
