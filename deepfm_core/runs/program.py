"""What this program is, for the names of what it keeps: results of another version are not taken for its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def digest_of(*parts: str, package: Path = PACKAGE) -> str:
    """Give a digest of the text of modules, to be taken as they are imported.

    A process that goes on while its files are replaced so keeps the name of the program that it runs.

    Args:
        parts: modules, or folders of modules, by their path in the package.
        package: where they stand.
    """
    digest = hashlib.sha256()
    for part in parts:
        path = package / part
        for module in [path] if path.suffix else sorted(path.rglob("*.py")):
            digest.update(f"{module.relative_to(package)}\n".encode())
            digest.update(hashlib.sha256(module.read_bytes()).digest())
    return digest.hexdigest()
