"""Score rows of a CSV file with a trained model. Needs Python 3.10 or newer, and numpy; nothing else.

    python score.py rows.csv > probabilities.csv
    python score.py rows.csv --parts --delimiter ';' > parts.csv

`weights.npz` and `vocabulary.json` stand beside this file. In Python: `Model(folder).logits(rows)`, rows being
dictionaries of texts. In shapes: B rows, S slots (feature ids a row has), F fields, K embedding size.
"""

# A run's `export --format score` copies this module as it is. It imports nothing of the library, and a test compares
# it with `predict` for every kind of field, every model and every term.

from __future__ import annotations

import argparse
import calendar
import csv
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Ids = NDArray[np.int64]
Values = dict[str, Any]
"""What `vocabulary.json` says of a field or of the model."""
Texts = Sequence[str]
"""The cells of a column, without white space around them: (B,)."""
Code = tuple[Ids, Numbers]
"""A field's ids within its block (B, slots), and the x of each (B, slots)."""

ROWS_AT_ONCE = 8192


# From a cell's text to feature ids and their x. What training did not see counts as an average value.


def strip(text: str | None) -> str:
    """Take white space away."""
    return (text or "").strip()


class Known:
    """The values that training saw, by their features; an unseen text may be another spelling of a single one."""

    def __init__(self, field: Values) -> None:
        known: dict[str, int | None] = dict.fromkeys(field["rare"], 2)
        known |= {text: 3 + place for place, text in enumerate(field["values"])}
        self._forms = [known]

    def feature(self, text: str) -> int:
        """Give the feature of a value: unseen is 1."""
        found = self._forms[0].get(text)
        for number, alike in enumerate(SPELLINGS, 1):
            if found is not None:
                return found
            text = alike(text)
            found = self._form(number).get(text)
        return 1 if found is None else found

    def _form(self, number: int) -> dict[str, int | None]:
        """Give the features of the known values as `SPELLINGS` writes them; None where several are written alike."""
        while len(self._forms) <= number:
            whole: list[tuple[str, int | None]] = list(self._forms[0].items())
            for alike in SPELLINGS[: len(self._forms)]:
                whole = [(alike(text), feature) for text, feature in whole]
            counts = Counter(text for text, _ in whole)
            self._forms.append({text: feature if counts[text] == 1 else None for text, feature in whole})
        return self._forms[number]


def letters(text: str) -> str:
    """Compose letters and their accents, and take any run of white space for one blank."""
    composed = unicodedata.normalize("NFC", text)
    return re.sub("[ \t\n\f\r\x0b\xa0\u2000-\u200b\u202f\u3000\ufeff]+", " ", composed).strip()


def numbers_alike(text: str) -> str:
    """Write numbers without a plus, without commas between thousands, and without zeros at the end of decimals."""
    if re.search(r"^[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?$", text):
        text = text.replace(",", "")
    text = re.sub(r"^\+([0-9])", r"\1", text)
    text = re.sub(r"^(-?)\.([0-9])", r"\g<1>0.\2", text)
    text = re.sub(r"^(-?[0-9]+)\.0*$", r"\1", text)
    return re.sub(r"^(-?[0-9]+\.[0-9]*[1-9])0+$", r"\1", text)


def without_zeros(text: str) -> str:
    """Write codes of digits without the zeros that spreadsheets take away."""
    return re.sub(r"^0+([0-9]+)$", r"\1", text)


SPELLINGS = (letters, numbers_alike, str.lower, without_zeros)
"""Ways to make texts alike, each on top of those before it."""


def code_categorical(field: Values, texts: Texts, about: About) -> Code:
    """One feature a row: missing is 0."""
    ids = [0 if about.missing(text) else field["known"].feature(text) for text in texts]
    return np.array(ids)[:, None], np.ones((len(texts), 1))


def code_multi_valued(field: Values, texts: Texts, about: About) -> Code:
    """Several features a row: the distinct values of the cell, the most frequent ones if there are too many."""
    slots, size = field["slots"], field["size"]
    ids, x = np.zeros((len(texts), slots), int), np.zeros((len(texts), slots))
    for row, text in enumerate(texts):
        found = features_within(text, field, about)
        if found == {1}:
            found = features_within(otherwise_separated(text, field, about), field, about)
        kept = sorted(found, key=lambda feature: (feature - 3) % size)[:slots]  # rare and unseen values go first
        ids[row, : len(kept)] = kept
        x[row, : len(kept)] = 1 / len(kept) if field["average"] and kept else 1
        x[row, 0] = x[row, 0] if kept else 1  # a cell without values is "missing"
    return ids, x


def features_within(text: str, field: Values, about: About) -> set[int]:
    """Give the features of the values in a cell."""
    parts = [] if about.missing(text) else [part.strip(about.wrapping) for part in text.split(field["separator"])]
    return {field["known"].feature(part) for part in parts if not about.missing(part)}


def otherwise_separated(text: str, field: Values, about: About) -> str:
    """Write a cell with the field's separator if most of its values are known between another mark."""
    written, best = text, 0.5
    for mark in about.marks:
        if mark == field["separator"] or mark not in text:
            continue
        parts = [part for each in text.split(mark) if (part := each.strip(about.wrapping))]  # `('a',)` holds one value
        share = sum(field["known"].feature(part) != 1 for part in parts) / max(len(parts), 1)
        if share > best:
            written, best = text.replace(mark, field["separator"]), share
    return written


def code_numeric(field: Values, texts: Texts, about: About) -> Code:
    """The scaled value times one feature; missing is a feature of its own."""
    values = about.numbers(field, texts)
    missing = np.isnan(values)
    return missing.astype(int)[:, None], np.where(missing, 1, scaled(values, field["scale"]))[:, None]


def code_piecewise(field: Values, texts: Texts, about: About) -> Code:
    """Two features a row, the knots left and right of the value, with x = 1 − t and t."""
    values, knots = about.numbers(field, texts), np.array(field["knots"])
    missing, last = np.isnan(values), len(knots) - 1
    known = np.where(missing, knots[0], values)
    left = np.clip(np.searchsorted(knots, known, side="right") - 1, 0, max(last - 1, 0))
    right = np.minimum(left + 1, last)
    width = np.where(right > left, knots[right] - knots[left], 1)
    t = np.clip((known - knots[left]) / width, 0, 1) * (last > 0)
    ids = np.stack([left + 1, right + 1], 1)
    ids[missing] = 0
    return ids, np.stack([1 - t, t], 1)


def code_bucketised(field: Values, texts: Texts, about: About) -> Code:
    """One feature a row: the bucket of the value; missing is 0."""
    values = about.numbers(field, texts)
    bucket = np.maximum(np.searchsorted(np.array(field["edges"]), values, side="right"), 1)
    return np.where(np.isnan(values), 0, bucket)[:, None], np.ones((len(texts), 1))


def code_timestamp(field: Values, texts: Texts, about: About) -> Code:
    """One feature a row: hour of day or day of week; missing is 0."""
    part = 0 if field["part"] == "hour" else 1
    features = [
        0 if about.missing(text) else 1 + moment(field, text, about, row)[part] for row, text in enumerate(texts)
    ]
    return np.array(features)[:, None], np.ones((len(texts), 1))


CODES = {
    "categorical": code_categorical,
    "multi-valued": code_multi_valued,
    "numeric": code_numeric,
    "piecewise": code_piecewise,
    "bucketised": code_bucketised,
    "timestamp": code_timestamp,
}
"""By kind: a field's ids within its block (B, slots), and the x of each (B, slots)."""


def code_dense(field: Values, texts: Texts, about: About) -> Numbers:
    """Give the scaled value, and where training had missing ones, whether it is missing: (B, 1 or 2)."""
    values = about.numbers(field, texts)
    columns = [np.where(np.isnan(values), 0, scaled(values, field["scale"]))]
    return np.stack(columns + ([np.isnan(values)] if field["flag"] else []), 1)


DENSE = {"dense": code_dense}
"""By kind without embeddings."""


def scaled(values: Numbers, scale: Values) -> Numbers:
    """Scale numbers as training did, within ±5 standard deviations."""
    shaped = np.sign(values) * np.log1p(np.abs(values)) if scale["log"] else values
    return np.asarray(np.clip((shaped - scale["mean"]) / scale["sd"], -5, 5))


MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
OTHER_MONTHS = {"mär": "mar", "mrz": "mar", "mai": "may", "okt": "oct", "dez": "dec", "ene": "jan", "ago": "aug"}


def moment(field: Values, text: str, about: About, row: int) -> tuple[int, int]:
    """Read a point in time as hour of day (0 … 23) and day of week (0 is Monday), as its own clock shows it."""
    found = re.match(field["pattern"], text, re.ASCII)
    parts = found.groupdict() if found else {}
    read = clock(parts) if found else None
    if read is None:
        raise about.refusal(field, text, row, "is not a point in time of the form " + field["form"])
    return read


def clock(parts: dict[str, str | None]) -> tuple[int, int] | None:
    """Give hour and day of week of a time's parts, or None where there is no such time."""
    if parts.get("epoch"):
        seconds = int(parts["epoch"] or 0)
        return seconds // 3600 % 24, (seconds // 86400 + 3) % 7
    if parts.get("days"):  # of a spreadsheet, which counts from 30 December 1899 on
        of_day = round(float(f"0.{parts['share'] or 0}") * 86400)
        return of_day // 3600 % 24, (int(parts["days"] or 0) - 25569 + of_day // 86400 + 3) % 7
    number = {name: int(value) for name, value in parts.items() if value and value.isdigit()}
    short = number.get("short", 0)
    year = short + (1900 if short >= 69 else 2000) if "short" in parts else number.get("year", 1970)
    month = number.get("month", 1)
    if name := (parts.get("name") or "")[:3].lower():
        name = OTHER_MONTHS.get(name, name)
        month = MONTHS.index(name) + 1 if name in MONTHS else 0
    hour, day = number.get("hour", 0), number.get("day", 1)
    half = (parts.get("half") or "").lower()
    if half:
        hour = hour % 12 + 12 * (half == "p") if 1 <= hour <= 12 else 24
    if not (1 <= month <= 12 and hour <= 23 and number.get("minute", 0) <= 59 and number.get("second", 0) <= 60):
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return hour, calendar.weekday(year, month, day)


PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{2,3})*,[0-9]{3}(\.[0-9]*)?")


SIGNS = (
    ("[\u00a0\u202f\u2007\u2009]", " "),
    ("[’ʼ`´]", "'"),
    ("[−‒]", "-"),
    (r"^\((.*[0-9].*)\)$", r"-\1"),
    (r"^([0-9.,' ]*[0-9])-$", r"-\1"),
)
"""Every sort of blank, apostrophe and minus as one of each; `(12)` and `12-` as -12."""
THOUSANDS = {"k": 1e3, "m": 1e6, "b": 1e9}


def plainly(notation: Values, text: str) -> str:
    """Write a number of a column plainly, `1.234,5 €` as `1234.5`; what means no value is empty, other texts stay."""
    if text.lower() in notation["blanks"]:
        return ""
    decimal, group, unit = notation["decimal"], notation["group"], notation["unit"]
    if (decimal, group) != (".", ",") or unit or notation["shorthand"] or notation["signs"]:
        bare = text
        for pattern, put in SIGNS:
            bare = re.sub(pattern, put, bare)
        bare = re.sub(notation["after"], "", re.sub(notation["before"], r"\1\3", bare)) if unit else bare
        factor = THOUSANDS.get(bare[-1:].lower(), 1) if notation["shorthand"] else 1
        bare = re.sub(r"([0-9])\s*[kKmMbB]$", r"\1", bare) if factor != 1 else bare
        if re.match(notation["number"], bare, re.ASCII):
            text = repr(float(bare.replace(group, "").replace(decimal, ".")) * factor)
    plain = PLAIN.fullmatch(text) or GROUPED.fullmatch(text)
    value = float(text.replace(",", "")) if plain else np.nan
    return "" if any(abs(value - hole) <= 1e-6 * abs(hole) for hole in notation["holes"]) else text


def written(notation: Values, text: str) -> str:
    """Give a cell as its field reads it: a number plainly, another text as it is unless it means no value."""
    plain = plainly(notation, text)
    return plain if notation["is_number"] or not plain else text


class About:
    """What all fields share: which texts mean "no value", how numbers are read, what is said of a bad cell."""

    def __init__(self, vocabulary: Values, first_row: int) -> None:
        self._missing, self.wrapping = set(vocabulary["missing"]), vocabulary["wrapping"]
        self.marks: list[str] = vocabulary["marks"]
        self._first_row = first_row

    def missing(self, text: str) -> bool:
        """Say whether a text stands for a missing value."""
        return text.lower() in self._missing

    def numbers(self, field: Values, texts: Texts) -> Numbers:
        """Read numbers: (B,), NaN where missing."""
        values = [np.nan if self.missing(text) else self._number(field, text, row) for row, text in enumerate(texts)]
        return np.array(values, float)

    def _number(self, field: Values, text: str, row: int) -> float:
        if PLAIN.fullmatch(text) or GROUPED.fullmatch(text):
            value = float(text.replace(",", ""))
            if np.isfinite(value):
                return value
        raise self.refusal(field, text, row, "is not a finite number")

    def refusal(self, field: Values, text: str, row: int, what: str) -> ValueError:
        """Give the error about a cell; rows are counted from 0, as in the library's messages."""
        where = f"row {self._first_row + row:,}, column `{field['column']}`"
        return ValueError(f"{where}: `{text}` {what}. Correct the cell or leave it empty.")


# From ids and x to the terms of the logit; they are named as in the library, and add up.


def first_order(m: Batch) -> Numbers:
    """bias + Σ x w."""
    return np.asarray(m.weights["bias"] + (m.x * m.weights["table"][m.ids, 0]).sum(1))


def dense(m: Batch) -> Numbers:
    """Σ d u."""
    return np.asarray(m.dense @ m.weights["dense_weights"])


def fm_pairs(m: Batch) -> Numbers:
    """Σ over pairs of fields of ⟨c_f, c_g⟩ = ½ (|Σ c|² − Σ |c|²), c being embeddings less their field's mean or not.

    In a guided model each pair has a weight r_fg.
    """
    c = m.fields(m.about["fm_columns"]) - (m.weights["field_means"] if m.about["centred"] else 0)
    if "pair_weights" in m.weights:
        return np.asarray(0.5 * (c * np.einsum("fg,bgk->bfk", m.weights["pair_weights"], c)).sum((1, 2)))
    return np.asarray(0.5 * ((c.sum(1) ** 2).sum(1) - (c**2).sum((1, 2))))


def within_pairs(m: Batch) -> Numbers:
    """The pairs inside multi-valued fields: ½ (|e|² − Σ |x v|²)."""
    e, each, total = m.fields(m.about["fm_columns"]), m.features(m.about["fm_columns"]), np.zeros(len(m.ids))
    for number in m.about["within"]:
        squares = (each[:, m.slots[number]] ** 2).sum((1, 2))
        total += 0.5 * ((e[:, number] ** 2).sum(1) - squares)
    return total


def cells(m: Batch) -> Numbers:
    """The cells of the pairs that guide a model: Σ x_i x_j u_ij over the features i and j of both fields."""
    keys, weights, total = m.weights["cell_keys"], m.weights["cell_weights"], np.zeros(len(m.ids))
    for a, b in m.weights["cell_pairs"].astype(int) if len(keys) else ():
        left, right = m.slots[a], m.slots[b]
        key = m.ids[:, left, None] * len(m.weights["table"]) + m.ids[:, None, right]
        place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        u = np.where(keys[place] == key, weights[place], 0)
        total += (u * m.x[:, left, None] * m.x[:, None, right]).sum((1, 2))
    return total


def crossed(m: Batch) -> Numbers:
    """The weight of each crossed field's combination."""
    return np.asarray(m.weights["crossed_weights"][m.crosses, 0].sum(1))


def cross_network(m: Batch) -> Numbers:
    """The cross network's output: each layer multiplies what stands there with the inputs."""
    fields = m.fields(m.about["deep_columns"])
    x = h = np.concatenate([fields.reshape(len(fields), -1), m.dense], 1)
    for w, b in zip(m.weights["cross.weights"], m.weights["cross.biases"], strict=True):
        h = CROSSES[m.about["cross"]](x, h, w, b) + h
    return np.asarray(h @ m.weights["cross.output"])


CROSSES: dict[str, Any] = {
    "vector": lambda x, h, w, b: x * (h @ w)[:, None] + b,
    "matrix": lambda x, h, w, b: x * (h @ w.T + b),
}
"""What a layer of a cross network adds, from the inputs x and the layer below h, (B, d) each, by its form."""


def deep(m: Batch) -> Numbers:
    """The network's output."""
    fields = m.fields(m.about["deep_columns"])
    h = np.concatenate([fields.reshape(len(fields), -1), *products(fields, m.about), m.dense], 1)
    for kind, name in m.about["layers"]:
        h = LAYERS[kind](h, {key.removeprefix(name): m.weights[key] for key in m.weights if key.startswith(name)})
    return np.asarray(h[:, 0])


def products(fields: Numbers, about: Values) -> list[Numbers]:
    """What a product-based network reads beside the embeddings: inner products of all pairs, outer of their sum."""
    a, b = np.triu_indices(fields.shape[1], 1)
    total = fields.sum(1)
    inner = (fields[:, a] * fields[:, b]).sum(2)
    outer = (total[:, :, None] * total[:, None, :]).reshape(len(total), -1)
    return [each for name, each in (("inner", inner), ("outer", outer)) if about[name]]


def batch_norm(h: Numbers, w: dict[str, Numbers]) -> Numbers:
    """Normalise by the means and variances of training."""
    return np.asarray((h - w["running_mean"]) / np.sqrt(w["running_var"] + 1e-5) * w["weight"] + w["bias"])


LAYERS: dict[str, Any] = {
    "Linear": lambda h, w: h @ w["weight"].T + w["bias"],
    "BatchNorm1d": batch_norm,
    "ReLU": lambda h, w: np.maximum(h, 0),
    "Tanh": lambda h, w: np.tanh(h),
    "Sigmoid": lambda h, w: sigmoid(h),
    "Identity": lambda h, w: h,
    "Dropout": lambda h, w: h,
}
"""A layer's output from its input (B, units) and its weights, by the name of its class in PyTorch."""

TERMS = {
    "FirstOrder": first_order,
    "Dense": dense,
    "FMPairs": fm_pairs,
    "WithinPairs": within_pairs,
    "Cells": cells,
    "Crossed": crossed,
    "CrossNetwork": cross_network,
    "Deep": deep,
}
"""By the name of a term's class in the library: what it adds to the logit of each row, (B,)."""


def sigmoid(z: Numbers) -> Numbers:
    """Turn log-odds into probabilities, without overflow."""
    e = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1, e) / (1 + e))


class Batch:
    """B encoded rows: ids and x (B, S), dense values (B, D), ids of crossed fields (B, C), with weights to read."""

    def __init__(self, model: Model, rows: Sequence[dict[str, str]], first_row: int) -> None:
        about = About(model.vocabulary, first_row)
        columns: dict[str, Texts] = {name: [strip(row[name]) for row in rows] for name in model.columns}
        for name, notation in model.vocabulary["notations"].items():
            columns[name] = [written(notation, text) for text in columns[name]]
        coded = [CODES[field["kind"]](field, columns[field["column"]], about) for field in model.vocabulary["fields"]]
        offsets = [field["offset"] for field in model.vocabulary["fields"]]
        self.ids = np.concatenate([ids + offset for (ids, _), offset in zip(coded, offsets, strict=True)], 1)
        self.x = np.concatenate([x for _, x in coded], 1)
        numbers = [DENSE[field["kind"]](field, columns[field["column"]], about) for field in model.vocabulary["dense"]]
        self.dense = np.concatenate(numbers, 1) if numbers else np.zeros((len(rows), 0))
        combined = [combination(field, columns, about) for field in model.vocabulary["crosses"]]
        self.crosses = np.stack(combined, 1) if combined else np.zeros((len(rows), 0), int)
        self.weights, self.about, self.slots = model.weights, model.vocabulary["model"], model.slots

    def features(self, columns: Sequence[int]) -> Numbers:
        """Give x · v of each slot, of some columns of the table: (B, S, K)."""
        return np.asarray(self.x[:, :, None] * self.weights["table"][self.ids, slice(*columns)])

    def fields(self, columns: Sequence[int]) -> Numbers:
        """Give the embedding of each field, the sum of its slots: (B, F, K)."""
        each = self.features(columns)
        return np.stack([each[:, slots].sum(1) for slots in self.slots], 1)


def combination(cross: Values, columns: dict[str, Texts], about: About) -> Ids:
    """Give the id of the combination of two fields' features: (B,)."""
    a, b = (CODES[part["kind"]](part, columns[part["column"]], about)[0][:, 0] for part in cross["parts"])
    known = {tuple(pair): 1 + place for place, pair in enumerate(cross["combinations"])}
    features = [known.get(pair, 0) for pair in zip(a.tolist(), b.tolist(), strict=True)]
    return np.array(features) + int(cross["offset"])


class Model:
    """A trained model: `weights.npz` and `vocabulary.json` of a folder."""

    def __init__(self, folder: Path | str) -> None:
        self.vocabulary: Values = json.loads((Path(folder) / "vocabulary.json").read_text(encoding="utf-8"))
        with np.load(Path(folder) / "weights.npz") as arrays:
            self.weights = {name: arrays[name].astype(float) for name in arrays.files}
        fields = self.vocabulary["fields"]
        parts = [part for cross in self.vocabulary["crosses"] for part in cross["parts"]]
        for field in fields + parts:
            field["known"] = Known(field) if "values" in field else None
        self.columns = list(dict.fromkeys(field["column"] for field in fields + self.vocabulary["dense"]))
        ends = np.cumsum([0, *(field["slots"] for field in fields)]).tolist()
        self.slots = [slice(start, stop) for start, stop in pairwise(ends)]

    def parts(self, rows: Sequence[dict[str, str]], first_row: int = 0) -> tuple[Numbers, Numbers]:
        """Give each row's FM logit and DNN logit, which add up to its logit: (B,) and (B,)."""
        batch, sums = Batch(self, rows, first_row), {"fm": np.zeros(len(rows)), "dnn": np.zeros(len(rows))}
        for name, part in self.vocabulary["terms"]:
            sums[part] = sums[part] + TERMS[name](batch)
        return sums["fm"], sums["dnn"]

    def logits(self, rows: Sequence[dict[str, str]]) -> Numbers:
        """Give each row's log-odds: (B,)."""
        fm, dnn = self.parts(rows)
        return fm + dnn


def blocks(reader: Iterable[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """Yield lists of rows."""
    block: list[dict[str, str]] = []
    for row in reader:
        block.append(row)
        if len(block) == ROWS_AT_ONCE:
            yield block
            block = []
    if block:
        yield block


def score(model: Model, lines: Iterable[str], delimiter: str, parts: bool, out: TextIO) -> None:
    """Write a line for each row: its number from 0, its probability, and with `parts` its log-odds."""
    reader: csv.DictReader[str] = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
    reader.fieldnames = [strip(name) for name in reader.fieldnames or []]
    absent = [name for name in model.columns if name not in reader.fieldnames]
    if absent:
        raise ValueError(f"columns are missing: {', '.join(absent)}. Add them; cells may be empty.")
    print("row,probability" + (",logit,fm_logit,dnn_logit" if parts else ""), file=out)
    number = 0
    for rows in blocks(reader):
        fm, dnn = model.parts(rows, number)
        columns = [sigmoid(fm + dnn), *((fm + dnn, fm, dnn) if parts else ())]
        for values in zip(*(column.tolist() for column in columns), strict=True):
            print(number, *(repr(value) for value in values), sep=",", file=out)
            number += 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a file; return 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(description="Score rows of a CSV file with a trained model.")
    parser.add_argument("table", type=Path, metavar="CSV", help="rows with a header line, in UTF-8")
    parser.add_argument("--parts", action="store_true", help="print logit, fm_logit and dnn_logit, too")
    parser.add_argument("--delimiter", default=",", help="what stands between cells (,)")
    given = parser.parse_args(arguments)
    csv.field_size_limit(2**24)
    try:
        with given.table.open(encoding="utf-8-sig", newline="") as lines:
            score(Model(Path(__file__).resolve().parent), lines, given.delimiter, given.parts, sys.stdout)
    except BrokenPipeError:  # the reader went away, as `| head` does
        sys.stderr.close()
        return 0
    except (OSError, ValueError, csv.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
