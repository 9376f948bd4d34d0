"""Words of a command line: a parser whose errors are ours, and numbers read by it. It imports nothing heavy."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from deepfm_core.errors import SpecError, did_you_mean


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: what was typed, what is wrong with it, and what to type instead."""

    given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, and keep the words for the sentence that tells what is wrong with them."""
        self.given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Say in our words what argparse found; where a word is missing, an option that is none may be meant for it.

        Raises:
            SpecError: always.
        """
        if "arguments are required" in message:
            known = list(self._examples())
            for word in self.given:
                if word.startswith("--") and not any(name.startswith(word.partition("=")[0]) for name in known):
                    self.refuse(word)
        raise SpecError(f"{self._told(message)} See `{self.prog} --help`.")

    def refuse(self, word: str) -> NoReturn:
        """Say that a word of the command line is none that this command knows, and which ones are like it.

        Raises:
            SpecError: always.
        """
        if not word.startswith("-"):
            raise SpecError(
                f"`{word}` is one word too many. Put names with spaces in quotes. See `{self.prog} --help`."
            )
        name = word.partition("=")[0]
        meant = did_you_mean(name.lstrip("-"), [known.removeprefix("--") for known in self._examples()])
        meant = re.sub(r"`(\S+)`", r"`--\1`", meant)
        raise SpecError(f"There is no option {name}. {meant}See `{self.prog} --help`.")

    def _told(self, message: str) -> str:
        if found := re.fullmatch(r"the following arguments are required: (.*)", message, re.DOTALL):
            names = found[1].split(", ")
            return f"{' and '.join(map(self._example, names))} {'is' if len(names) == 1 else 'are'} missing."
        if found := re.fullmatch(r"argument (\S+): expected one argument", message):
            name = found[1].split("/")[-1]
            return f"Option {name} has no value. Give one: {self._example(name)}."
        if found := re.fullmatch(r"argument (\S+): ignored explicit argument '(.*)'", message, re.DOTALL):
            return f"Option {found[1].split('/')[-1]} takes no value, and {found[2]!r} is one. Leave it out."
        if found := re.fullmatch(r"ambiguous option: (\S+) could match (.*)", message, re.DOTALL):
            return f"Option {found[1].partition('=')[0]} may mean {found[2].replace(', ', ' or ')}. Write it in full."
        if found := re.fullmatch(r"argument (\S+): (.*)", message, re.DOTALL):
            return f"Option {found[1].split('/')[-1]}: {found[2].removesuffix('.')}."
        return f"{message[:1].upper()}{message[1:]}."

    def _example(self, name: str) -> str:
        """Write an option with what follows it, as `--label NAME`; a word that is no option as it is."""
        return self._examples().get(name, name)

    def _examples(self) -> dict[str, str]:
        """Give every option with what follows it, by its name, as the line of usage has them unless it was written."""
        formatter = self._get_formatter()
        formatter.add_usage(None, self._actions, self._mutually_exclusive_groups)
        usage = " ".join(formatter.format_help().split())
        found = re.findall(r"--[\w-]+(?: [^\s\[\]]+)?", usage.replace(" | ", "] ["))
        return {example.partition(" ")[0]: example for example in found}


def whole_number(text: str) -> int:
    """Read a whole number of the command line.

    Raises:
        ArgumentTypeError: the text is none.
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number. Write it in digits, such as 20") from None


def number(text: str) -> float:
    """Read a number of the command line.

    Raises:
        ArgumentTypeError: the text is none.
    """
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is not a number. Write it with a point, such as 0.5") from None
