"""The report of a finished run, section by section: start with `report_html`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
import pandas as pd

import deepfm_core
from deepfm_core._words import isolated, named, percent, signed
from deepfm_core.evidence.verdicts import has_evidence, passed_over, verdict_sentence
from deepfm_core.explain.pair_counts import PairCounts
from deepfm_core.export.model_card import PARTS, Facts
from deepfm_core.export.report import charts
from deepfm_core.export.report.charts import Step
from deepfm_core.export.run_code import classifier_snippet, command_line, unsaid
from deepfm_core.metrics.scores import Metrics, few_cases, logloss_by_row

# The report's look: colours for light, dark and paper, and the layout. The colours are those of the app.


_LIGHT = """--paper:#fff;--ink:#1b252d;--muted:#59656d;--grid:#e6ebee;--line:#d5dce0;--soft:#f3f6f9;--accent:#0a6f82;
--fm:#3a58c3;--dnn:#9b4805;--up:#137738;--down:#9a3289;--cell:#eef1f2;--strong:#183f75;--weak:#e4f1f4"""
_DARK = """--paper:#0f1518;--ink:#e3e9ec;--muted:#9fadb6;--grid:#262f35;--line:#333d44;--soft:#181f24;--accent:#45bcd6;
--fm:#88a7fd;--dnn:#ec915c;--up:#5ac576;--down:#e087ce;--cell:#292c2d;--strong:#9de0e0;--weak:#273042"""

_SCRIPTS = """"Noto Sans","PingFang SC","Hiragino Sans","Microsoft YaHei","Noto Sans CJK SC","Apple Color Emoji",
"Segoe UI Emoji","Noto Color Emoji\""""
# Names may be in any script: what the usual systems bring for Chinese, Japanese, Korean and emoji.

CSS = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
{_SCRIPTS},sans-serif;-webkit-print-color-adjust:exact;print-color-adjust:exact}}
main{{max-width:1040px;margin:0 auto;padding:40px 24px 72px}}
h1{{font-size:2rem;line-height:1.2;letter-spacing:-.015em;margin:0 0 6px;text-wrap:balance}}
h2{{font-size:1.3rem;letter-spacing:-.01em;margin:52px 0 4px;padding-top:18px;border-top:1px solid var(--line)}}
h3{{font-size:1.02rem;margin:26px 0 2px}}
p{{margin:6px 0 12px;max-width:68ch}}
.lead{{font-size:1.12rem;max-width:62ch;margin:20px 0 18px}}
.quiet,figcaption,.axis{{color:var(--muted)}}
.quiet,figcaption{{font-size:.875rem}}
.narrow{{display:none}}
nav{{display:flex;flex-wrap:wrap;gap:4px 18px;margin:14px 0 0;font-size:.9rem}}
a{{color:var(--accent);text-decoration-thickness:1px;text-underline-offset:3px}}
a:focus-visible{{outline:2px solid var(--accent);outline-offset:3px;border-radius:3px}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:12px;margin:18px 0 8px}}
.tile{{background:var(--soft);border-radius:10px;padding:14px 16px}}
.tile b{{display:block;font-size:1.65rem;line-height:1.2;font-weight:650;font-variant-numeric:tabular-nums}}
.tile span{{display:block;font-size:.875rem;color:var(--muted)}}
.row{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:18px 36px;align-items:start}}
.wide{{grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr))}}
figure{{margin:14px 0 0;min-width:0;break-inside:avoid}}
figure h3{{margin:0 0 2px}}
figcaption{{margin-top:4px;max-width:60ch}}
svg{{display:block;width:100%;height:auto;overflow:hidden;font:12px system-ui,-apple-system,"Segoe UI",Roboto,
{_SCRIPTS},sans-serif}}
svg text{{fill:var(--muted);font-variant-numeric:tabular-nums}}
svg .say{{fill:var(--ink)}} svg .bold{{fill:var(--ink);font-weight:650}}
svg .on{{fill:var(--paper)}}
.grid{{stroke:var(--grid)}} .zero{{stroke:var(--muted)}}
.dash{{stroke:var(--muted);stroke-dasharray:4 4;fill:none}}
.train{{stroke:var(--muted);fill:none;stroke-width:1.75}}
.valid{{stroke:var(--accent);fill:none;stroke-width:2.25}}
.dot{{fill:var(--accent)}} .hollow{{fill:var(--paper);stroke:var(--accent);stroke-width:2}}
.span{{stroke:var(--accent);stroke-width:2.25;stroke-linecap:round}}
.faint{{opacity:.45}}
.model{{fill:var(--dnn)}}
.up{{fill:var(--up)}} .down{{fill:var(--down)}} .whole{{fill:var(--accent)}} .rest{{fill:var(--muted)}}
svg text.up-ink{{fill:var(--up)}} svg text.down-ink{{fill:var(--down)}}
.empty{{fill:none;stroke:var(--grid)}}
.scroll{{overflow-x:auto}}
table{{border-collapse:collapse;width:100%;font-size:.9rem;margin:10px 0}}
th{{text-align:start;font-weight:600;color:var(--muted);font-size:.82rem}}
th,td{{padding:7px 14px 7px 0;border-bottom:1px solid var(--grid);vertical-align:top}}
td.n,th.n{{text-align:end;font-variant-numeric:tabular-nums}}td.n{{white-space:nowrap}}
td small{{display:block;color:var(--muted);font-size:.82rem}}
tr{{break-inside:avoid}}
td svg{{min-width:110px!important}}
pre{{background:var(--soft);border-radius:10px;padding:14px 16px;overflow-x:auto;font-size:.83rem;line-height:1.5}}
code{{overflow-wrap:anywhere;font-family:ui-monospace,"Cascadia Mono",Menlo,Consolas,monospace;font-size:.92em}}
pre code{{font-size:1em;overflow-wrap:normal}}
.note{{border-inline-start:3px solid var(--dnn);padding:2px 0 2px 14px}}
dl{{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;font-size:.9rem;margin:10px 0}}
dt{{font-weight:600}} dd{{margin:0;color:var(--muted);max-width:70ch}}
.cells{{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:.82rem;color:var(--muted);margin:2px 0 8px}}
.columns{{columns:3 220px;column-gap:36px;font-size:.9rem;margin:10px 0;padding:0;list-style:none}}
.columns li{{display:flex;justify-content:space-between;gap:12px;border-bottom:1px solid var(--grid);padding:4px 0;
break-inside:avoid}} .columns b{{font-weight:600;font-variant-numeric:tabular-nums;text-align:end}}
@media (max-width:560px){{main{{padding:24px 16px 48px}}h1{{font-size:1.6rem;overflow-wrap:anywhere}}
.why{{min-width:13em}}.narrow{{display:block}}dl{{grid-template-columns:1fr}}
dd{{margin-bottom:8px}}th,td{{padding-inline-end:9px}}}}
@media print{{@page{{margin:16mm 14mm}}body{{font-size:10pt}}main{{max-width:none;padding:0}}nav{{display:none}}
h1{{font-size:20pt}}h2{{margin-top:22px;padding-top:12px}}h2,h2+p,h3,h3+.quiet{{break-after:avoid}}
tbody tr:nth-child(-n+2):not(:last-child){{break-after:avoid}}
h2+p{{break-inside:avoid}}p,figcaption{{orphans:3;widows:3}}
.tiles{{grid-template-columns:repeat(4,1fr)}}.tile{{break-inside:avoid;padding:10px 12px}}.tile b{{font-size:15pt}}
.row{{grid-template-columns:1fr 1fr;gap:10px 22px}}figure>.scroll>svg{{max-height:118mm}}
svg{{min-width:0!important}}.scroll,pre{{overflow:visible}}
table{{font-size:8.5pt}}th,td{{padding:5px 9px 5px 0}}
pre,pre code{{white-space:pre-wrap;overflow-wrap:anywhere}}.tile{{border:1px solid
var(--line)}}}}
"""


# The report of a finished run, section by section: start with `report_html`.


DRILLED, RANKED, MATRIX_FIELDS, STEPS = 3, 12, 20, 12
"""Pairs shown level by level, pairs ranked, fields of the matrix, and addends of a row that have a bar of their own."""

GLOSSARY = {
    "Probability": "What the model gives a row: the chance that it is positive.",
    "Logit, log-odds": "ln(p ÷ (1 − p)). 0 is 50%, +1 is 73%, −1 is 27%, +2 is 88%. Effects add up on this scale.",
    "AUC": "The chance that a positive row gets a higher probability than a negative one; 0.5 is guessing.",
    "Logloss (nats)": "Mean of −ln of the probability given to what happened. Lower is better.",
    "Pair": "What two fields do together, beyond what each does alone.",
    "Strength": "The standard deviation over rows of what a pair adds, in log-odds.",
    "Clear above noise": "The labels show the pair at a false discovery rate of 5%, and no other pair explains it: "
    "beside the others, its interval stays above zero, or held-out rows confirm it.",
    "Clear alone, unsure beside others": "The labels show the pair if it is taken alone. Beside the other pairs, its "
    "interval reaches down to zero, so that it could add nothing.",
    "Held-out rows": "Rows that the model was not trained on.",
}


def report_html(facts: Facts) -> str:
    """Write the report: one HTML file that asks for nothing from outside."""
    sections = [
        ("verdict", "Verdict", _verdict(facts)),
        ("scores", "Scores", "".join(_scores(facts))),
        ("training", "Training", "".join(_training(facts))),
        ("pairs", "Pairs of fields", "".join(_pairs(facts))),
        ("rows", "Single rows", "".join(_rows(facts))),
        ("fields", "Fields", _fields(facts)),
        ("settings", "Settings and how to repeat it", _settings(facts)),
        ("words", "Words", _words()),
    ]
    there = [(key, title, text) for key, title, text in sections if text]
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in there)
    body = "".join(f'<section id="{key}"><h2>{title}</h2>{text}</section>' for key, title, text in there)
    name = escape(facts.name)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{name}</title><style>{CSS}</style></head>
<body><main><header><h1>{name}</h1><p class="quiet">{_about(facts)}</p><nav aria-label="Sections">{links}</nav>
<p class="quiet narrow">Wide tables and charts scroll sideways.</p></header>
{body}</main></body></html>
"""


def _about(facts: Facts) -> str:
    rows = facts.summary["rows"]
    return (
        f"{facts.model} for <b>{escape(facts.label)}</b> · {sum(rows.values()):,} rows of "
        f"{escape(facts.spec.table_name)} · {len(facts.spec.schema.used)} fields · "
        f"{facts.summary.get('parameters', 0):,} parameters · DeepFM Explorer {deepfm_core.__version__}"
    )


# Verdict.


def _verdict(facts: Facts) -> str:
    tiles = "".join(f'<div class="tile"><span>{a}</span><b>{b}</b><span>{c}</span></div>' for a, b, c in _tiles(facts))
    doubts = "".join(f'<p class="note">{escape(doubt)}</p>' for doubt in _doubts(facts))
    return f'<p class="lead">{_plain_finding(facts)}</p>{doubts}<div class="tiles">{tiles}</div>'


def _plain_finding(facts: Facts) -> str:
    pairs = facts.pairs
    if pairs.empty:
        return f"{facts.model} gives each row a probability. It has no pairs of fields to report."
    first, evidence = pairs.iloc[0], has_evidence(pairs)
    cell, names = facts.telling_cell(first["field_a"], first["field_b"]), _names(first)
    if evidence and not pairs["significant"].fillna(False).any():
        return f"None of the {len(pairs):,} pairs of fields is clear above noise. The strongest is {names}."
    stronger = passed_over(pairs, "strength") if evidence else ""
    leads = "The pair to look at first is" if stronger else "The strongest pair is"
    start = f"{leads} {names}." if evidence else f"The model's strongest pair is {names}."
    effect = "" if cell is None else f" {escape(str(cell))}; the model says {signed(cell.learned)}."
    return f"{start}{effect} {_trusted(first)} {escape(stronger)}".strip()


def _trusted(pair: pd.Series) -> str:
    """Say what to think of a pair, in the words of the app."""
    return _bold(verdict_sentence(pair))


def _bold(text: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))


def _names(pair: pd.Series) -> str:
    return f"<b>{escape(isolated(pair['field_a']))} × {escape(isolated(pair['field_b']))}</b>"


def _doubts(facts: Facts) -> Iterator[str]:
    if facts.copies:
        yield facts.copies.said_of_run
    if facts.judged is None:
        return
    part, metrics = facts.judged
    if said := few_cases(metrics):
        yield said
    if metrics.auc_low is not None and metrics.auc_low <= 0.5:
        yield f"The {part.lower()} AUC is not clearly above 0.5: the model may rank no better than chance."
    worst = facts.findings.worst
    if worst is not None and worst.beyond_chance:
        yield (
            f"Where {named(worst.field, worst.level)}, {percent(worst.predicted, 1)} was predicted and "
            f"{percent(worst.observed, 1)} observed, in {worst.rows:,} rows: further off than chance would put the "
            f"worst of {worst.slices} slices."
        )


def _tiles(facts: Facts) -> Iterator[tuple[str, str, str]]:
    if facts.judged is not None:
        part, metrics = facts.judged
        yield f"AUC, {part.lower()} rows", _number(metrics.auc, 3), _range(metrics.auc_low, metrics.auc_high, 3)
        gain = 1 - metrics.logloss / metrics.base_logloss
        yield "Logloss (nats)", f"{metrics.logloss:.4f}", f"{gain:.0%} below that of guessing the rate"
        ratio = _range(metrics.calibration_low, metrics.calibration_high, 2)
        yield "Predicted ÷ observed", _number(metrics.calibration_ratio, 2), ratio
    pairs = facts.pairs
    if has_evidence(pairs):
        unsure = PairCounts.of(pairs).unsure
        beside = f"; {unsure:,} more unsure beside others" if unsure else ""
        yield "Clear pairs", f"{int(pairs['clear'].sum())}", f"of {len(pairs):,}, above noise in the labels{beside}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _range(low: float | None, high: float | None, digits: int) -> str:
    return "" if low is None or high is None else f"95%: {low:.{digits}f} to {high:.{digits}f}"


# Scores and training.


def _scores(facts: Facts) -> Iterator[str]:
    yield _scores_table(facts.metrics)
    predictions = facts.folder.frame("predictions")
    part = next(iter(facts.metrics), None)
    if predictions is None or part is None:
        return
    rows = predictions[predictions["part"] == part]
    if rows["label"].nunique() < 2:
        return
    metrics = facts.metrics[part]
    roc = charts.roc_curve(rows, f"ROC curve of the {PARTS[part].lower()} rows. AUC {_number(metrics.auc, 3)}.")
    yield '<div class="row">'
    yield _figure("Ranking", roc, "The steeper it rises, the better positive rows come first. Dashed: guessing.")
    note = "Each dot is a tenth of the rows, with a 95% interval. On the dashed line, probabilities are right."
    yield _figure("Calibration", charts.calibration_chart(rows), note)
    yield "</div>"


def _scores_table(metrics: dict[str, Metrics]) -> str:
    head = ("part", "rows", "positive", "AUC", "logloss (nats)", "logloss of guessing the rate", "predicted ÷ observed")
    body = [
        (
            PARTS[part],
            f"{one.rows:,}",
            f"{one.clicks:,} ({percent(one.clicks / max(one.rows, 1), 1)})",
            f"{_number(one.auc, 3)}<small>{_range(one.auc_low, one.auc_high, 3)}</small>",
            f"{one.logloss:.4f}<small>{_range(one.logloss_low, one.logloss_high, 4)}</small>",
            f"{one.base_logloss:.4f}",
            f"{_number(one.calibration_ratio, 2)}<small>{_range(one.calibration_low, one.calibration_high, 2)}</small>",
        )
        for part, one in metrics.items()
    ]
    return _table(head, body, numbers=range(1, len(head)))


def _figure(title: str, picture: str, note: str) -> str:
    return f'<figure><h3>{title}</h3><div class="scroll">{picture}</div><figcaption>{note}</figcaption></figure>'


def _training(facts: Facts) -> Iterator[str]:
    epochs = facts.folder.frame("epochs")
    best, count = facts.summary.get("best_epoch"), facts.summary.get("epochs")
    if best == 0:
        yield f"<p>None of {count} epochs did clearly better on the validation rows than the guide alone.</p>"
    else:
        yield f"<p>Epoch {best} of {count} had the lowest validation logloss, and its weights are the model.</p>"
    if epochs is None:
        yield '<p class="quiet">This run is of an earlier version, which did not keep its curves.</p>'
        return
    if best == 0:
        epochs = epochs.assign(best=False)  # no epoch was kept
    valid = facts.metrics.get("valid")
    yield '<div class="row">'
    note = "Training rows are scored while the weights change, and with dropout." + (
        " Circle: the best epoch." if best else ""
    )
    yield _figure("Logloss", charts.loss_curves(epochs, None if valid is None else valid.base_logloss), note)
    if epochs["valid_auc"].notna().all():
        yield _figure("Validation AUC", charts.auc_curve(epochs), "Higher is better; 0.5 is guessing.")
    yield "</div>"


# Pairs.


def _pairs(facts: Facts) -> Iterator[str]:
    pairs = facts.pairs
    if pairs.empty:
        return
    yield f"<p>{_how_sure(facts)}</p>"
    yield _ranking(pairs.head(RANKED))
    if len(pairs) > RANKED:
        yield f'<p class="quiet">The {RANKED} first of {len(pairs):,} pairs.</p>'
    fields = _matrix_fields(facts)
    if len(fields) > 2:
        cut = "" if len(fields) == len(_order(facts)) else f" The {len(fields)} fields with the strongest pairs."
        note = f"Strength of each pair, in log-odds; weak ones fade. Numbers: clear above noise.{cut}"
        yield _figure("All pairs", charts.matrix(fields, pairs), note)
    shown = pairs[pairs["clear"]] if pairs["clear"].any() else pairs.head(1)
    for pair in shown.head(DRILLED).to_dict("records"):
        yield _drill_down(facts, str(pair["field_a"]), str(pair["field_b"]), str(pair["verdict"]))


def _how_sure(facts: Facts) -> str:
    pairs = facts.pairs
    if not has_evidence(pairs):
        return "These strengths are what one model learned. Another seed may rank them differently."
    return (
        f"{PairCounts.of(pairs).said} The dot is the strength in the data with its 90% interval; the bar is what the "
        "model learned. The last column counts only what models of fewer rows had learned of a pair, so it is often "
        "lower than the data's."
    )


def _ranking(pairs: pd.DataFrame) -> str:
    top = float(np.nanmax(pairs[[c for c in ("strength", "strength_high", "learned") if c in pairs]].to_numpy(float)))
    body = []
    for pair in pairs.to_dict("records"):
        low, high, learned = (_known(pair.get(name)) for name in ("strength_low", "strength_high", "learned"))
        chart = charts.interval(low, float(pair["strength"]), high, learned, top)
        said = "" if low is None or high is None else f"<small>{low:.2f} to {high:.2f}</small>"
        names = f"{escape(str(pair['field_a']))} × {escape(str(pair['field_b']))}"
        name = f"<b>{names}</b>" if pair["clear"] else names
        verdict = f"<small>{escape(str(pair['verdict']))}</small>"
        held_out = _number(_known(pair.get("held_out_strength")), 2)
        body.append((name + verdict, chart, f"{pair['strength']:.2f}{said}", _number(learned, 2), held_out))
    head = ("pair", "strength: data ● and model ▬", "data", "model", "held-out rows")
    return _table(head, body, numbers=(2, 3, 4))


def _known(value: object) -> float | None:
    number = float(value) if isinstance(value, int | float) else float("nan")
    return number if np.isfinite(number) else None


def _order(facts: Facts) -> list[str]:
    fields = facts.folder.frame("fields")
    if fields is None:
        return []
    return [str(name) for name in fields.dropna(subset=["order"]).sort_values("order")["field"]]


def _matrix_fields(facts: Facts) -> list[str]:
    """Give the fields of the matrix in their order: of many, those with the strongest pairs."""
    order, pairs = _order(facts), facts.pairs
    names = dict.fromkeys(name for pair in pairs[["field_a", "field_b"]].to_numpy().tolist() for name in pair)
    kept = set(list(names)[:MATRIX_FIELDS])
    return [name for name in order if name in kept]


def _drill_down(facts: Facts, field_a: str, field_b: str, verdict: str) -> str:
    cells, names = facts.cells(field_a, field_b), f"{field_a} × {field_b}"
    if cells.empty:
        return ""
    limit = max(float(cells[["observed", "learned"]].abs().to_numpy().max()), 0.4)
    telling = facts.telling_cell(field_a, field_b)
    said = "" if telling is None else f"Clearest in the data: {telling}; the model says {signed(telling.learned)}."
    pictures = (
        charts.levels(cells, column, limit, f"{names}, effects in log-odds: {title.lower()}.")
        for column, title in (("observed", "In the data"), ("learned", "In the model"))
    )
    data, model = pictures
    note = "Log-odds that the two levels add together, beyond each alone. Green raises, purple lowers."
    return (
        f'<h3>{escape(names)}</h3><p class="quiet">{escape(verdict[:1].upper() + verdict[1:])}. {escape(said)}</p>'
        f'<div class="row wide">{_figure("In the data", data, note + " Few rows are shrunk towards 0.")}'
        f"{_figure('In the model', model, 'The same, as the model learned it.')}</div>"
    )


# Single rows.


def _rows(facts: Facts) -> Iterator[str]:
    terms, examples, cells = (facts.folder.frame(name) for name in ("purified_terms", "examples", "example_cells"))
    if terms is None or examples is None or cells is None or examples.empty:
        return
    yield (
        "<p>Every prediction is a sum. Here are four held-out rows, from the mean logit to their own. What fields do "
        "alone is kept apart from what pairs add: these parts are purified, so they differ from the parts as trained, "
        f"which <em>Examples</em> in the app shows first. Both add up to the same logit. {_left_out(facts)}</p>"
    )
    yield '<div class="row wide">'
    for title, row in _typical(examples):
        addends = terms[terms["row"] == row["row"]]
        if len(addends):
            yield _row(title, row, addends, cells[cells["row"] == row["row"]].iloc[0], facts)
    yield "</div>"


def _left_out(facts: Facts) -> str:
    """Say that cells of ignored columns, such as names and numbers of people, are not in the report."""
    ignored = any(not role.kind.is_used for role in facts.spec.schema.roles)
    return "Cells of columns that the model ignores are not shown." if ignored else ""


def _typical(examples: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Yield typical rows, each with its title: most probable, median, least probable, and the largest surprise."""
    ranked = examples.sort_values("logit", kind="stable").reset_index(drop=True)
    surprise = logloss_by_row(examples["label"].to_numpy(float), examples["logit"].to_numpy())
    yield "Highest probability", ranked.iloc[-1]
    yield "Median probability", ranked.iloc[len(ranked) // 2]
    yield "Lowest probability", ranked.iloc[0]
    yield "Largest surprise", examples.iloc[int(surprise.argmax())]


def _row(title: str, row: pd.Series, addends: pd.DataFrame, cells: pd.Series, facts: Facts) -> str:
    happened = "positive" if row["label"] == 1 else "negative"
    used = {role.column for role in facts.spec.schema.used}
    shown = {str(name): value for name, value in cells.items() if name in used}
    base = float(addends.loc[addends["term"] == "base", "value"].sum())
    picture = charts.ledger(base, _steps(addends[addends["term"] != "base"], cells), float(row["logit"]))
    values = "".join(f"<span>{escape(named(name, str(value)))}</span>" for name, value in shown.items())
    head = f"{title}: {percent(row['probability'], 1)}"
    said = f"Row {int(row['row']):,} of the {PARTS[str(row['part'])].lower()} part was {happened}.{_split(row, facts)}"
    about = f'<figcaption>{said}</figcaption><div class="cells">{values}</div>'
    return f'<figure><h3>{head}</h3>{about}<div class="scroll">{picture}</div></figure>'


def _split(row: pd.Series, facts: Facts) -> str:
    """Split a row's logit into FM and DNN as trained, where the model has both."""
    model = facts.spec.model
    if not (model.deep and model.first_order):
        return ""
    wide = "FM logit" if model.second_order else "LR"
    parts = f"{wide} {signed(float(row['fm_logit']))}, DNN {signed(float(row['dnn_logit']))}"
    return f" As trained, its logit of {signed(float(row['logit']))} is the sum of {parts}."


def _steps(addends: pd.DataFrame, cells: pd.Series) -> list[Step]:
    """Give the largest addends of a row by themselves, and the others as one."""
    order = addends["value"].abs().sort_values(ascending=False, kind="stable").index
    values = addends["value"].astype(float)
    named = [Step(_addend(addends.loc[i], cells), values[i]) for i in order]
    rest = sum(step.value for step in named[STEPS:])
    more = [Step(f"{len(named) - STEPS} smaller ones", rest)] if len(named) > STEPS else []
    return [*named[:STEPS], *more]


_UNNAMED = {
    "higher-order": "three or more fields",
    "other-pairs": "all other pairs",
    "rest": "other pairs, and three or more fields",
}
"""Addends of no field in particular."""


def _addend(addend: pd.Series, cells: pd.Series) -> str:
    if addend["term"] in _UNNAMED:
        return _UNNAMED[addend["term"]]
    a, b = addend["field_a"], addend["field_b"]
    if addend["term"] == "pair":
        return f"{a} × {b}" if a != b else f"within {a}"
    return named(str(a), str(cells[a])) if a in cells.index and a != "row" else str(a)


# Fields, settings, words.


def _fields(facts: Facts) -> str:
    frame = facts.folder.frame("fields")
    effects = {} if frame is None else dict(zip(frame["field"], frame["main_effect"], strict=True))
    top = max((value for value in effects.values() if _known(value) is not None), default=0.0)
    body = []
    for role in facts.spec.schema.roles:
        own = [
            _known(value)
            for name, value in effects.items()
            if name == role.column or name.startswith(role.column + " ")
        ]
        found = max((value for value in own if value is not None), default=None)
        chart = (
            "" if found is None or not role.kind.is_used else f"{charts.effect(found, top)}<small>{found:.2f}</small>"
        )
        why = _coded(role.reason) + (f"<small>{_coded(role.warning)}</small>" if role.warning else "")
        body.append((escape(role.column), role.kind.value, f'<div class="why">{why}</div>', chart))
    note = (
        '<p class="quiet">Effect alone: standard deviation over rows of what the field adds by itself, in log-odds.</p>'
    )
    return note + _table(("field", "taken as", "why", "effect alone"), body)


def _coded(text: str) -> str:
    """Write a text with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


def _settings(facts: Facts) -> str:
    items = "".join(f"<li>{escape(title)}<b>{escape(value)}</b></li>" for title, value in facts.settings())
    sha = f'<p class="quiet">SHA-256 of the table: <code>{facts.spec.table}</code></p>' if facts.spec.table else ""
    return (
        f'<ul class="columns">{items}</ul>{sha}<h3>Command line</h3>'
        f"<pre><code>{escape(command_line(facts))}</code></pre>{_paragraph(unsaid(facts))}<h3>Python</h3>"
        f"<pre><code>{escape(classifier_snippet(facts))}</code></pre>"
    )


def _paragraph(text: str) -> str:
    return f"<p>{escape(text.strip())}</p>" if text else ""


def _words() -> str:
    return "<dl>" + "".join(f"<dt>{word}</dt><dd>{escape(what)}</dd>" for word, what in GLOSSARY.items()) + "</dl>"


def _table(head: Sequence[str], body: Sequence[Sequence[str]], numbers: Sequence[int] | range = ()) -> str:
    """Write a table; the columns `numbers` are set to the right."""
    side = [' class="n"' if place in numbers else "" for place in range(len(head))]
    top = "".join(f'<th scope="col"{each}>{cell}</th>' for cell, each in zip(head, side, strict=True))
    lines = ("".join(f"<td{each}>{cell}</td>" for cell, each in zip(line, side, strict=True)) for line in body)
    rows = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table></div>'
