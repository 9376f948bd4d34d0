"""`python -m deepfm_core`: train, predict, explain, interactions, export, read, runs, worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from deepfm_core._processor import wait_passively
from deepfm_core.cli.parser import parse, parser, program
from deepfm_core.errors import DeepFMError

BAD_INPUT, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, or 2 with one `error: …` on stderr for bad input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wait_passively()
    try:
        if given[:1] == ["worker"]:
            from deepfm_core.workers.worker import main as worker

            return worker(given[1:], program())
        if not given:
            parser().print_help()
            return 0
        parsed = parse(given)
        _use_system_memory()
        parsed.run(parsed)
        sys.stdout.flush()
    except DeepFMError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        print(f"error: `{error.filename}`: {error.strerror}. Check the path and its permissions.", file=sys.stderr)
        return BAD_INPUT
    except MemoryError:
        said = "This machine's memory is not enough. Use fewer rows or columns; if the file is small, it is damaged."
        print(f"error: {said}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("error: Stopped by you. Nothing half-written was left.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away, as `| head` does
    return 0


def _use_system_memory() -> None:
    from deepfm_core._parallel import use_system_memory

    use_system_memory()


if __name__ == "__main__":
    sys.exit(main())
