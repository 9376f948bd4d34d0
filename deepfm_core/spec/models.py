"""Every model of the DeepFM paper's comparison, and DCN, as a row of switches of the one module."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Switches:
    """Which parts a model has, and what its network reads (docs/model.md, "The models").

    Attributes:
        first_order: bias and first-order terms.
        second_order: the FM's pairs.
        deep: a network.
        cross: the form of the cross network that stands beside the network: `vector`, `matrix`, or empty for none.
        own_embeddings: the network has embeddings of its own, beside those of the FM.
        weights_read: the network reads each field's first-order weight beside its embedding.
        inner: the network reads the inner products of all pairs of embeddings.
        outer: the network reads the outer product of the embeddings' sum with itself.
        pretrained: the table starts from that of an FM trained before.
        crosses: crossed fields may join the first-order term.
    """

    first_order: bool = False
    second_order: bool = False
    deep: bool = False
    cross: str = ""
    own_embeddings: bool = False
    weights_read: bool = False
    inner: bool = False
    outer: bool = False
    pretrained: bool = False
    crosses: bool = False

    @property
    def embedding_sets(self) -> int:
        """How many embeddings each feature has: 0, 1 or 2."""
        return int(self.second_order or self.deep) + int(self.own_embeddings)

    @property
    def pairs(self) -> bool:
        """Whether the logit may hold interactions of two fields."""
        return self.second_order or self.deep


GUIDED_EMBEDDING_SD = 0.4
"""How large the embeddings of a guided model are expected to be; its weights of pairs go by it, too."""

MODELS = {
    "lr": Switches(first_order=True),
    "fm": Switches(first_order=True, second_order=True),
    "dnn": Switches(deep=True),
    "fnn": Switches(deep=True, weights_read=True, pretrained=True),
    "ipnn": Switches(deep=True, inner=True),
    "opnn": Switches(deep=True, outer=True),
    "pnn": Switches(deep=True, inner=True, outer=True),
    "wide-deep": Switches(first_order=True, deep=True, crosses=True),
    "fm-dnn": Switches(first_order=True, second_order=True, deep=True, own_embeddings=True),
    "dcn": Switches(deep=True, cross="vector"),
    "dcn-v2": Switches(deep=True, cross="matrix"),
    "deepfm": Switches(first_order=True, second_order=True, deep=True),
}
"""The models by the name that `--model` takes, in the order of the paper's table: DNN beside FM, DCN before DeepFM."""

PUBLISHED = "deepfm-paper"
"""What a comparison calls DeepFM exactly as published, where it has another form of DeepFM as well."""


@dataclass(frozen=True)
class AddendKind:
    """A kind of addends of the logit, as frames, ledgers and formulas call it (the terms are `models.terms`).

    Attributes:
        switch: the attribute of `Switches` that gives a model such addends.
        column: of the `explain` table that they are summed into.
        title: for ledgers and charts; behind a pair's name where it is not that of the FM's pairs.
        symbol: in formulas (LaTeX).
    """

    switch: str
    column: str
    title: str
    symbol: str


ADDENDS = {
    "bias": AddendKind("first_order", "bias", "bias", "w_0"),
    "first-order": AddendKind("first_order", "first_order", "first order", r"\langle w, x\rangle"),
    "second-order": AddendKind(
        "second_order", "second_order", "FM pairs", r"\sum_{i<j}\langle v_i, v_j\rangle x_i x_j"
    ),
    "cross": AddendKind("cross", "dnn_logit", "cross network", r"y_{\mathrm{cross}}"),
    "dnn": AddendKind("deep", "dnn_logit", "DNN", r"y_{\mathrm{DNN}}"),
}
"""Every kind of addend, by the name it has in frames, in the order of a ledger."""


def addend_kinds(switches: Switches) -> dict[str, AddendKind]:
    """Give the kinds of addends that a model has."""
    return {name: kind for name, kind in ADDENDS.items() if getattr(switches, kind.switch)}
