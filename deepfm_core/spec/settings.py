"""Every setting of a run, declared once.

What checks, the command line, the form on Train, studies, run names and run differences say of a setting is derived
from its entry here. A new setting is a field of `ModelSpec`, `FitSpec` or `RunSpec` (spec/run.py) and an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from deepfm_core.errors import SpecError
from deepfm_core.spec.models import Switches
from deepfm_core.spec.value_kinds import Choice, Crosses, Flag, Number, Values, Whole, Widths

Home = Literal["model", "fit", "run", "split"]
"""The part of a run's spec that holds a setting: `spec.model`, `spec.fit`, the spec itself, `spec.split`."""
HOMES: tuple[Home, ...] = get_args(Home)

ACTIVATIONS = ("relu", "tanh", "sigmoid", "linear")
PRECISIONS = ("float32", "bfloat16")
PLATEAUS = ("never", "logloss", "auc")
LAST = 99
"""Place in a run's name of settings that are seldom varied."""


@dataclass(frozen=True)
class Option:
    """How the command line takes a setting.

    Attributes:
        metavar: stands for the value in the help; empty for a flag.
        flag: the option, where it is not the setting's name.
        verbs: the commands that have it.
    """

    metavar: str = ""
    flag: str = ""
    verbs: tuple[str, ...] = ("train", "compare")


@dataclass(frozen=True)
class Said:
    """How a run's name writes a setting: a form for the value, and which settings come before it."""

    form: str
    place: int = LAST


@dataclass(frozen=True)
class Varied:
    """How a study varies a setting: the values tried where nothing else is said, and whether by orders of magnitude."""

    values: tuple[str | int | float, ...]
    log: bool = False


def _any_model(_: Switches) -> bool:
    return True


def _network(switches: Switches) -> bool:
    return switches.deep


def _embeddings(switches: Switches) -> bool:
    return switches.embedding_sets > 0


def _cross_network(switches: Switches) -> bool:
    return bool(switches.cross)


def _pairs(switches: Switches) -> bool:
    return switches.second_order


def _crossed(switches: Switches) -> bool:
    return switches.crosses


@dataclass(frozen=True)
class Setting:
    """One setting of a run.

    Attributes:
        name: of the dataclass's field.
        home: the part of the spec that has the field.
        values: range or choices.
        title: how it is called within a sentence.
        help: what it is, as a sentence without its capital and its full stop.
        label: in a form, where it is not the title.
        note: what to know before changing it; shown in forms after the help.
        usual: the value of a run that does not say, in words; empty where the preset gives it.
        optional: whether it may be None.
        option: how the command line takes it, if it does.
        drawn: whether the form on Train shows it.
        said: how a run's name writes it; None where names leave it out.
        varied: how a study varies it, if it does.
        needs: which models have it; the others ignore it.
        refused: whether models without it refuse it.
        takes_along: the setting that follows this one where this one is chosen.
        own: whether it stays with its run where the run's settings are taken over.
    """

    name: str
    home: Home
    values: Values
    title: str
    help: str
    label: str = ""
    note: str = ""
    usual: str = ""
    optional: bool = False
    option: Option | None = None
    drawn: bool = True
    said: Said | None = None
    varied: Varied | None = None
    needs: Callable[[Switches], bool] = _any_model
    refused: bool = False
    takes_along: str = ""
    own: bool = False

    @property
    def heading(self) -> str:
        """What a form writes above it."""
        return self.label or capitalised(self.title)

    @property
    def sentence(self) -> str:
        """The help as a sentence, with the note."""
        return " ".join(filter(None, [f"{capitalised(self.help)}.", self.note]))

    @property
    def flag(self) -> str:
        """The option of the command line."""
        named = self.option.flag if self.option else ""
        return named or f"--{self.name.replace('_', '-')}"

    @property
    def explained(self) -> str:
        """The help with the choices written out, for the command line."""
        options = self.values.options if isinstance(self.values, Choice) else ()
        return f"{self.help}: {', '.join(options[:-1])} or {options[-1]}" if options else self.help

    def of(self, spec: Any) -> Any:
        """Give its value in a `RunSpec`."""
        return getattr(spec if self.home == "run" else getattr(spec, self.home), self.name)

    def as_text(self, value: Any) -> Any:
        """Give a value as forms and links hold it: lists as a text, all else as it is."""
        return self.values.text(value) if isinstance(self.values, Widths | Crosses) else value

    def from_text(self, value: Any) -> Any:
        """Give a value of `as_text` in its type.

        Raises:
            SpecError: the text is not a list of the kind.
        """
        if not isinstance(self.values, Widths | Crosses):
            return value
        try:
            return self.values.read(value)
        except SpecError:
            raise
        except ValueError:
            raise self.refusal(value) from None

    def require(self, value: Any) -> None:
        """Check a value.

        Raises:
            SpecError: it is out of range.
        """
        if not (value is None and self.optional) and not self.values.allows(value):
            raise self.refusal(", ".join(map(str, value)) if isinstance(value, tuple) else value)

    def refusal(self, value: object) -> SpecError:
        """Give the error about a value that cannot be: subject, value, remedy."""
        left_out = ", or leave it out" if self.optional else ""
        return SpecError(f"{capitalised(self.title)} is {value!r}. Use {self.values.remedy}{left_out}.")


def capitalised(text: str) -> str:
    """Write a text with a capital, the rest as it is: `L2 of embeddings` keeps its L."""
    return text[:1].upper() + text[1:]


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "embedding_size",
        "model",
        Whole(1, 512),
        title="embedding size",
        help="numbers in each embedding, the paper's K",
        option=Option("K"),
        said=Said("k {}", 1),
        varied=Varied((4, 8, 16), log=True),
        needs=_embeddings,
    ),
    Setting(
        "layers",
        "model",
        Widths(8192),
        title="layers",
        help="units of each hidden layer, from the input on, such as 64,32",
        option=Option("WIDTHS"),
        said=Said("{}", 0),
        needs=_network,
    ),
    Setting(
        "activation",
        "model",
        Choice(ACTIVATIONS),
        title="activation",
        help="activation of the hidden units",
        option=Option("NAME"),
        said=Said("{}", 8),
        varied=Varied(ACTIVATIONS),
        needs=_network,
    ),
    Setting(
        "dropout",
        "model",
        Number(0, 1, below=True, noun="the share of units to drop", step=0.05),
        title="dropout",
        help="probability to drop a hidden unit; the paper's figure is the share kept",
        option=Option("P"),
        said=Said("dropout {}", 6),
        needs=_network,
    ),
    Setting(
        "batch_norm",
        "model",
        Flag(),
        title="batch normalisation",
        help="normalise each hidden layer over the batch",
        option=Option(),
        said=Said("batch norm {}"),
        needs=_network,
    ),
    Setting(
        "cross_layers",
        "model",
        Whole(1, 10),
        title="cross layers",
        help="layers of the cross network of dcn and dcn-v2; with 3 of them, up to four fields act together in it",
        usual="3",
        option=Option("N"),
        said=Said("cross layers {}"),
        needs=_cross_network,
    ),
    Setting(
        "centred",
        "model",
        Flag(),
        title="centred",
        label="Centred embeddings",
        help="multiply embeddings less their field's mean in the FM: main effects stay out of pairs",
        said=Said("centred {}"),
    ),
    Setting(
        "guided",
        "model",
        Flag(),
        title="guided",
        label="Guided by the evidence",
        help="start from main effects and the pairs that the labels of the training part support; embeddings and"
        " DNN learn what these leave",
        option=Option(),
        drawn=False,  # the page Train has a switch for it beside preset and model
        said=Said("guided {}", 2),
        needs=_pairs,
    ),
    Setting(
        "crosses",
        "model",
        Crosses(),
        title="crosses",
        label="Crossed fields",
        help="pairs of fields, such as device*hour; each combination of their values gets a first-order weight; only"
        " wide-deep has them",
        usual="none",
        option=Option("A*B,C*D", "--cross"),
        said=Said("crosses {}"),
        needs=_crossed,
        refused=True,
    ),
    Setting(
        "embedding_sd",
        "model",
        Number(0, 1, above=True, example="0.1"),
        title="embedding sd",
        help="standard deviation of the random numbers embeddings start from",
        drawn=False,
        said=Said("embedding sd {}"),
    ),
    Setting(
        "epochs",
        "fit",
        Whole(1, 10_000),
        title="epochs",
        label="Epochs at most",
        help="most passes over the training part",
        option=Option("N"),
        said=Said("epochs {}", 7),
    ),
    Setting(
        "patience",
        "fit",
        Whole(1, unit="epochs"),
        title="patience",
        help="epochs without a better validation logloss before training stops; the best epoch's weights are kept",
        note="The preset gives 3; where the model is guided 2,400 ÷ √(training rows), from 3 to 8: what it learns late"
        " shows after so many steps, and an epoch of a large table has many. Without a DNN and a guide it gives 180"
        " steps, at least 3 epochs.",
        option=Option("N"),
        said=Said("patience {}"),
    ),
    Setting(
        "least_gain",
        "fit",
        Number(0, 1, below=True, noun="a share of the validation score", example="5e-5"),
        title="least gain",
        help="share by which the validation logloss, or 1 − AUC, must fall for an epoch to count as better for the"
        " patience",
        option=Option("X"),
        drawn=False,
        said=Said("least gain {}"),
    ),
    Setting(
        "batch_size",
        "fit",
        Whole(1, 1_000_000, unit="rows"),
        title="batch size",
        help="rows per step",
        option=Option("ROWS"),
        said=Said("batch {}", 3),
    ),
    Setting(
        "learning_rate",
        "fit",
        Number(0, 10, above=True, example="1e-3", step=1e-3),
        title="learning rate",
        help="Adam's step size",
        option=Option("RATE"),
        said=Said("rate {}", 2),
        varied=Varied((1e-3, 3e-3, 1e-2), log=True),
    ),
    Setting(
        "reduce_on_plateau",
        "fit",
        Choice(PLATEAUS),
        title="reduce on plateau",
        help="where this validation score stalls for the patience, divide the learning rate by ten once, and go on from"
        " the best weights until the next stall",
        usual="never",
        option=Option("SCORE"),
        said=Said("reduced by {}"),
    ),
    Setting(
        "precision",
        "fit",
        Choice(PRECISIONS),
        title="precision",
        help="precision of the DNN's matrix products while training",
        note="bfloat16 keeps three digits of each factor; weights, the FM and every evaluation stay in float32. It pays"
        " for wide layers alone: with 400 units fits were 1.4 to 2 times as fast, with 64 no faster. Test AUC differed"
        " from float32's by 0.0004 or less on average, 0.0013 in the worst of 21 fits.",
        usual="float32",
        option=Option("NAME"),
        said=Said("{}", 9),
        needs=_network,
    ),
    Setting(
        "l2",
        "fit",
        Number(0, example="1e-5", step=1e-4),
        title="L2",
        help="add λ/2 · Σ w² over first-order weights and embeddings to a batch's mean logloss",
        option=Option("λ"),
        said=Said("L2 {}", 4),
        varied=Varied((1e-5, 1e-4, 1e-3), log=True),
        takes_along="embedding_l2",
    ),
    Setting(
        "first_order_rate",
        "fit",
        Number(0, 100, above=True, noun="a factor of the learning rate", example="3"),
        title="first-order rate",
        help="how many times faster bias and first-order weights learn than the rest",
        drawn=False,
        said=Said("first order rate {}"),
    ),
    Setting(
        "averaging",
        "fit",
        Flag(),
        title="averaging",
        help="keep a running average of the weights over about the last 1/9 of all steps",
        drawn=False,
        said=Said("averaging {}"),
    ),
    Setting(
        "embedding_l2",
        "fit",
        Number(0, example="1e-3"),
        title="embedding L2",
        help="λ of the embeddings where it is not that of L2",
        optional=True,
        drawn=False,
        said=Said("embedding l2 {}"),
        own=True,  # it follows L2, which is taken over
    ),
    Setting(
        "min_count",
        "run",
        Whole(1, unit="rows"),
        title="minimum count",
        help="values in fewer training rows share the feature “rare”",
        usual="1",
        option=Option("ROWS"),
        said=Said("min count {}"),
    ),
    Setting(
        "seed",
        "run",
        Whole(0),
        title="seed",
        help="seed of the division into parts, the first weights, the order of rows and dropout",
        usual="0",
        option=Option("SEED"),
        said=Said("seed {}", 5),
        own=True,
    ),
    Setting(
        "folds",
        "run",
        Whole(2, 20, zero=True),
        title="folds",
        label="Folds for held-out rows",
        help="check each pair on held-out rows in so many folds; 0 skips the check",
        usual="5 up to 200,000 rows, otherwise 0",
        optional=True,
        option=Option("N", verbs=("train",)),
        own=True,
    ),
    Setting(
        "split_seed",
        "run",
        Whole(0),
        title="seed of the split",
        help="seed of the division into parts where it is not the run's",
        optional=True,
        drawn=False,
        own=True,
    ),
    Setting(
        "explained",
        "run",
        Flag(),
        title="explained",
        help="make the frames about pairs, levels and single rows",
        drawn=False,
        own=True,
    ),
    Setting(
        "valid",
        "split",
        Number(0, 1, below=True, noun="a share of the rows", example="0.1"),
        title="validation share",
        help="share of the rows that decides when training stops",
        usual="0.1",
        option=Option("SHARE"),
        drawn=False,
        own=True,
    ),
    Setting(
        "test",
        "split",
        Number(0, 1, below=True, noun="a share of the rows", example="0.1"),
        title="test share",
        help="share of the rows that judges the model; may be 0",
        usual="0.1",
        option=Option("SHARE"),
        drawn=False,
        own=True,
    ),
)


def setting_named(name: str) -> Setting:
    """Give the setting of a name.

    Raises:
        KeyError: there is none.
    """
    found = next((setting for setting in SETTINGS if setting.name == name), None)
    if found is None:
        raise KeyError(name)
    return found


def of_home(home: Home) -> list[Setting]:
    """Give the settings that a part of the spec holds."""
    return [setting for setting in SETTINGS if setting.home == home]


def require_in_range(home: Home, part: object) -> None:
    """Check all settings of a part of the spec.

    Raises:
        SpecError: one is out of range.
    """
    for setting in of_home(home):
        setting.require(getattr(part, setting.name))


def by_home(chosen: Mapping[str, Any], homes: Collection[Home] = HOMES) -> dict[Home, dict[str, Any]]:
    """Sort chosen values by the part of the spec that holds them. A setting that follows a chosen one becomes None.

    Raises:
        SpecError: these parts have no such setting.
    """
    known = {setting.name: setting for setting in SETTINGS if setting.home in homes}
    unknown = set(chosen) - set(known)
    if unknown:
        raise SpecError(f"Setting is {min(unknown)!r}. Use one of {', '.join(sorted(known))}.")
    following = {known[name].takes_along: None for name in chosen if known[name].takes_along}
    found: dict[Home, dict[str, Any]] = {home: {} for home in HOMES}
    for name, value in {**following, **chosen}.items():
        found[known[name].home][name] = value
    return found
