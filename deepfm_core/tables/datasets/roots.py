"""Which files a shared server reads for its visitors: those below places that its operator names.

Start with `require_below`. A personal server, the command line and the library read what the machine's user may read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deepfm_core.errors import Problem, TableError
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
    if is_uri(text) and urlsplit(text).scheme.lower() != "file":
        if not any(_is_below(text, root) for root in allowed if is_uri(root)):
            raise _outside(source, allowed)
        return
    folders = [Path(root).expanduser().resolve() for root in allowed if not is_uri(root)]
    begin = Path(unquote(urlsplit(text).path) if is_uri(text) else text).expanduser().absolute()
    if not _is_within(_before_pattern(begin), folders):
        raise _outside(source, allowed)
    if not all(_is_within(Path(file.path), folders) for file in list_files(source)[1]):
        raise _outside(source, allowed)


def _before_pattern(path: Path) -> Path:
    """Give the folder above the first name with a pattern; the path itself where there is none."""
    first = next((place for place, name in enumerate(path.parts) if PATTERN.search(name)), None)
    return path if first is None else Path(*path.parts[:first])


def _is_within(path: Path, folders: Sequence[Path]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(folder) for folder in folders)


def _is_below(text: str, root: str) -> bool:
    """Say whether an address lies below another one, which has the same scheme and host."""
    plain = unquote(text)
    return plain.startswith(root.rstrip("/") + "/") and ".." not in plain.split("/") and "\\" not in plain


def _outside(source: str, allowed: Sequence[str]) -> TableError:
    places = ", ".join(f"`{name_of(root)}`" for root in allowed)
    remedy = f"Name files below {places}." if allowed else "Upload the file."
    return TableError("Table", [Problem("this server does not read it", remedy, value=name_of(source))])
