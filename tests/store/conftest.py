"""Both databases of the store: what the tests say holds for SQLite and for PostgreSQL, whose server is started here."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

from deepfm_core.store.database import Database

NUMBERS = count()
NO_SERVER = "PostgreSQL is not installed (`apt-get install postgresql`, `pip install psycopg[binary]`)."


def _programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, which Debian does not put on the path."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


def _has_user() -> bool:
    """Say whether a server can be run as the user that Debian makes for it."""
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return False
    return shutil.which("runuser") is not None


class Cluster:
    """A PostgreSQL server of its own, reached by a socket in its folder. It does not wait for disks."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._as = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # it refuses to run as root
        if self._as:
            shutil.chown(folder, "postgres")
        self._do("initdb", "-A", "trust", "-U", "postgres", "-N", "-D", f"{folder}/data")
        self.start()

    def _do(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as, str(self._programs / program), *arguments],
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self._folder} -c fsync=off -c max_connections=60"
        self._do("pg_ctl", "-w", "-D", f"{self._folder}/data", "-l", f"{self._folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self._do("pg_ctl", "-w", "-D", f"{self._folder}/data", "-m", "immediate", "stop")

    def fresh_url(self) -> str:
        """Make an empty schema, and return the URL of a database that is nothing but that."""
        import psycopg

        name, host = f"s{next(NUMBERS)}", quote(str(self._folder), safe="")
        whole = f"postgresql://postgres@{host}/postgres"
        with psycopg.connect(whole, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{whole}?options=-c%20search_path%3D{name}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    import tempfile

    pytest.importorskip("psycopg", reason=NO_SERVER)
    if (programs := _programs()) is None:
        pytest.skip(NO_SERVER)
    if os.getuid() == 0 and not _has_user():
        pytest.skip("PostgreSQL refuses to run as root, and there is no user `postgres` to run it as.")
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:  # a socket's path has 107 bytes at most
        server = Cluster(programs, Path(folder))
        yield server
        server.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have stores use each database in turn, each test an empty one; give its URL."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("cluster").fresh_url()
    monkeypatch.setenv("DEEPFM_DATABASE", url)
    return url


@pytest.fixture
def other_writer(database: str, tmp_path: Path) -> Iterator[Database]:
    """A second connection to the database of the store at `tmp_path / "home"`."""
    other = Database(tmp_path / "home" / "runs.db", url=database)
    yield other
    other.close()
