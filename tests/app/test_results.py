"""The pages Performance, Interactions and Examples, driven without a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.charts.performance import off_by_chance
from app.shared.field_pairs import no_clear_pairs, pair_id, pair_of
from app.views.interactions.levels import UNREADABLE
from app.views.performance.slices import finding
from deepfm_core.cli.interactions import short
from deepfm_core.evidence import verdicts
from deepfm_core.evidence.verdicts import verdict_sentence
from deepfm_core.export.model_card import Facts, model_card
from deepfm_core.export.report.page import report_html
from deepfm_core.metrics.scores import evaluate
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.process import Process
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import LOCAL, Store
from tests.conftest import answer_next

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "sample_data" / "run"
PAGES = ("performance", "interactions", "examples")
Opened = Callable[..., AppTest]


@pytest.fixture
def opened(store: Store) -> Opened:
    """Open a page, with choices as its URL has them."""

    def open_page(view: str, **choices: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
        app.switch_page(f"views/{view}/{view}.py")
        for name, value in choices.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception
        assert not [error.value for error in app.error]
        return app

    return open_page


def text_of(app: AppTest) -> str:
    elements = [*app.markdown, *app.caption, *app.info, *app.header, *app.subheader, *app.warning]
    return "\n".join(str(element.value) for element in elements)


def finished_copy(store: Store, change: Callable[[Path], None], seed: int = 0, **spec: object) -> str:
    """Put a copy of the bundled run into the store, changed."""
    whole = json.loads((BUNDLED / "spec.json").read_text()) | {"seed": seed}
    whole["model"] = {**whole["model"], **spec}
    run = store.enqueue(RunSpec.from_dict(whole), name="changed run")
    shutil.copytree(BUNDLED, store.folder(run).path, dirs_exist_ok=True)
    change(store.folder(run).path)
    with store.database.write() as connection:
        summary = (store.folder(run).path / "summary.json").read_text(encoding="utf-8")
        connection.execute("UPDATE runs SET status = 'finished', summary = ? WHERE id = ?", (summary, run))
    return run


def frame_changed(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / "frames" / f"{name}.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_bundled_run_at_once(opened: Opened, page: str) -> None:
    app = opened(page)
    assert app.title[0].value == page.title()
    assert app.subheader


@pytest.mark.parametrize("page", PAGES)
def test_a_run_that_still_trains_is_said_to_and_train_is_offered(opened: Opened, store: Store, page: str) -> None:
    spec = RunSpec.from_dict(json.loads((BUNDLED / "spec.json").read_text()))
    run = store.enqueue(spec)
    app = opened(page, run=run)
    assert "is waiting for a worker" in text_of(app)
    assert [button.label for button in app.main.button] == ["Watch it live"]


def test_every_figure_of_a_part_stands_with_its_interval(opened: Opened) -> None:
    app = opened("performance")
    told = json.loads((BUNDLED / "metrics.json").read_text())["test"]
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["AUC"] == f"{told['auc']:.3f}"
    assert f"95%: {told['logloss_low']:.3f} to {told['logloss_high']:.3f}" in text_of(app)


def test_the_counts_at_a_threshold_add_up_to_the_rows(opened: Opened) -> None:
    app = opened("performance")
    for threshold in (0.0, 0.2, 0.9):
        app.slider[0].set_value(threshold).run()
        counts = {metric.label: metric.value for metric in app.metric}
        kinds = ("True positives", "False positives", "False negatives", "True negatives")
        assert sum(int(counts[kind].replace(",", "")) for kind in kinds) == 2000


def test_a_part_with_a_single_class_gets_a_sentence(opened: Opened, store: Store) -> None:
    def no_clicks(folder: Path) -> None:
        frame_changed(folder, "predictions", lambda frame: frame[frame["label"] == 0])
        rows = pd.read_parquet(folder / "frames" / "predictions.parquet").query("part == 'test'")
        metrics = evaluate(rows["label"].to_numpy(), rows["logit"].to_numpy(), 0.16)
        (folder / "metrics.json").write_text(json.dumps({"test": asdict(metrics), "valid": asdict(metrics)}))

    app = opened("performance", run=finished_copy(store, no_clicks))
    assert "AUC is not defined" in text_of(app)


def one_field_only(folder: Path) -> None:
    frame_changed(folder, "pairs", lambda pairs: pairs.iloc[:0])
    frame_changed(folder, "fields", lambda fields: fields[fields["field"] == "device"])


def test_a_run_of_one_field_is_said_to_have_no_pair_and_shows_the_field(opened: Opened, store: Store) -> None:
    run = finished_copy(store, one_field_only)
    spec = RunSpec.from_dict(json.loads((BUNDLED / "spec.json").read_text()))
    others = {role.column: Kind.IGNORE for role in spec.schema.roles if role.column != "device"}
    text = json.dumps(replace(spec, schema=spec.schema.with_kinds(others)).to_dict())
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET spec = ? WHERE id = ?", (text, run))
    app = opened("interactions", run=run)
    assert "a pair needs two fields, and there is only `device`" in text_of(app)
    assert app.main.button[0].label == "Choose fields"
    assert app.header[0].value == "device"
    train = opened("train", run=run)
    assert "A pair needs two fields, and the model has one." in text_of(train)
    assert "See the fields" in [button.label for button in train.main.button]


def test_a_link_opens_its_pair_and_a_broken_one_the_strongest(opened: Opened) -> None:
    assert opened("interactions", pair="price~age").header[0].value == "price × age"
    first = opened("interactions").header[0].value
    assert opened("interactions", pair="no~such").header[0].value == first


def test_a_pair_of_odd_names_can_be_linked() -> None:
    for names in (("a~b", "c%7Ed"), ("a&b=c", "é ü"), ("a × b", "~")):
        assert pair_of(pair_id(*names)) == names


def test_a_model_without_pairs_says_so_and_shows_its_fields(opened: Opened, store: Store) -> None:
    def of_a_regression(folder: Path) -> None:
        frame_changed(folder, "pairs", lambda frame: frame.drop(columns="significant", errors="ignore"))

    app = opened("interactions", run=finished_copy(store, of_a_regression, name="lr"))
    assert "no two fields interact" in text_of(app)
    assert "Main effect by level" in text_of(app)


def test_no_clear_pair_is_said_first(opened: Opened, store: Store) -> None:
    def without(folder: Path) -> None:
        frame_changed(folder, "pairs", lambda frame: frame.assign(significant=False, observed=0.01))

    app = opened("interactions", run=finished_copy(store, without))
    assert "None of the 66 pairs is clear above noise" in text_of(app)


def test_the_page_opens_on_the_pair_it_calls_the_strongest(opened: Opened, store: Store) -> None:
    def noise_on_top(folder: Path) -> None:
        frame_changed(
            folder, "pairs", lambda frame: frame.assign(strength=frame["strength"].where(frame["significant"], 3.0))
        )

    app = opened("interactions", run=finished_copy(store, noise_on_top))
    assert app.header[0].value == "device × placement"
    assert "The strongest is **device × placement**, with" in text_of(app)
    assert app.selectbox(key="choice of pair").value == pair_id("device", "placement")


def test_score_says_how_many_rows_the_run_was_trained_on(opened: Opened, store: Store, tmp_path: Path) -> None:
    lines = (ROOT / "sample_data" / "clicks.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "part.csv").write_text("".join(lines[:2001]), encoding="utf-8")
    entry = store.import_table(tmp_path / "part.csv", "part.csv", LOCAL)
    said = text_of(opened("score", score_table=entry.sha256))
    assert "of 2,000 rows are copies of rows trained on" in said


@pytest.mark.parametrize("page", ["start", "train", *PAGES, "embeddings", "score", "learn"])
def test_every_page_says_which_run_table_label_and_model_it_shows(opened: Opened, store: Store, page: str) -> None:
    run = finished_copy(store, lambda folder: None)
    app = opened(page, run=run)
    line = next(caption.value for caption in app.caption if "changed run" in caption.value and "AUC" in caption.value)
    for part in ("clicks.csv, 20,000 rows", "positive: `clicked = 1`", "DeepFM, guide alone: first order and 6 pairs"):
        assert part in line


def test_the_page_counts_the_pairs_that_hold_and_the_pairs_that_the_model_has_learned(opened: Opened) -> None:
    pairs = pd.read_parquet(BUNDLED / "frames" / "pairs.parquet")
    clear = pairs[pairs["significant"].astype(bool)]
    assert (clear["held_out_z"] > 2).all()
    learned = int((clear["learned"] >= 0.5 * clear["strength"]).sum())
    assert learned == len(clear) == 5  # the sample run is guided
    said = text_of(opened("interactions"))
    assert "**5 of 66** pairs hold on held-out rows, all that are clear in the data." in said
    assert "Of the 5 clear ones, the model has all about right (within a factor of two)." in said


def test_captions_of_cells_say_which_of_the_two_effects_is_shrunk(opened: Opened) -> None:
    said = text_of(opened("interactions"))
    assert said.count("The data's effects are shrunk towards zero where rows are few; the model's are drawn") == 2
    assert "by chance alone" not in said


def test_a_pair_has_one_verdict_in_the_sentence_the_table_the_report_and_on_the_command_line(
    opened: Opened, store: Store
) -> None:
    """One pair was unsure beside others in the chart and not confirmed in the table; a sentence counted it as clear."""

    def one_unsure(folder: Path) -> None:
        (folder / "findings.json").unlink()  # as of a run of an earlier version, so that it is found again
        first = [True, *[False] * 65]
        frame_changed(
            folder,
            "pairs",
            lambda frame: frame.assign(
                strength_low=frame["strength_low"].mask(first, 0.0), held_out_z=frame["held_out_z"].mask(first, 0.5)
            ),
        )

    run = finished_copy(store, one_unsure)
    folder = RunFolder(store.folder(run).path)
    app = opened("interactions", run=run, views="All pairs")
    lead = "of 66** pairs hold on held-out rows, all that are clear in the data. 1 is clear alone, but unsure beside"
    assert f"**4 {lead}" in text_of(app)
    pairs = folder.frame("pairs")
    assert pairs is not None
    judged = verdicts.verdicts(pairs)
    assert (judged == verdicts.UNSURE).sum() == 1
    report = report_html(Facts.of(folder, "changed"))
    assert "1 is clear alone, but unsure beside others." in report
    assert f"<small>{verdicts.UNSURE}</small>" in report
    assert f"| {verdicts.UNSURE} |" in model_card(Facts.of(folder, "changed"))
    on_terminal = short(pairs.assign(verdict=judged))
    assert on_terminal.loc[judged == verdicts.UNSURE, ["clear", "verdict"]].to_numpy().tolist() == [
        ["no", verdicts.UNSURE]
    ]
    assert "4 of 66 pairs hold, 1 unsure beside others." in text_of(opened("start", run=run))


def test_the_page_counts_the_pairs_that_the_model_has_not_learned(opened: Opened, store: Store) -> None:
    def three_forgotten(folder: Path) -> None:
        frame_changed(folder, "pairs", lambda frame: frame.assign(learned=frame["learned"].where(frame.index > 2, 0.0)))

    said = text_of(opened("interactions", run=finished_copy(store, three_forgotten)))
    assert "Of the 5 clear ones, the model has 2 about right (within a factor of two), 3 too weak." in said


def test_the_page_tells_what_held_out_rows_change_about_sizes(opened: Opened, store: Store) -> None:
    """Held-out rows judge sizes, too: the count of right sizes falls when they are asked, and the page says why."""

    def two_overstated(folder: Path) -> None:
        def change(frame: pd.DataFrame) -> pd.DataFrame:
            clear = frame["significant"].astype(bool)
            return frame.assign(held_out_slope=frame["held_out_slope"].mask(clear & (clear.cumsum() <= 2), 0.3))

        frame_changed(folder, "pairs", change)

    said = text_of(opened("interactions", run=finished_copy(store, two_overstated)))
    assert "Of the 5 clear ones, the model has 3 about right (within a factor of two), 2 too strong." in said


def test_the_open_pair_stays_open_when_the_check_puts_another_first(opened: Opened, store: Store) -> None:
    """Until 12/2026 the page changed to another pair without a word when the check on held-out rows ended."""
    run = finished_copy(store, lambda folder: None)
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET status = 'queued' WHERE id = ?", (run,))
    assert store.claims.next(Process.current()) is not None
    app = opened("interactions", run=run)
    device = pair_id("device", "placement")
    assert app.selectbox(key="choice of pair").value == device

    def device_overstated(frame: pd.DataFrame) -> pd.DataFrame:
        first = frame["field_a"].eq("device") & frame["field_b"].eq("placement")
        return frame.assign(held_out_slope=frame["held_out_slope"].mask(first, 0.2))

    frame_changed(store.folder(run).path, "pairs", device_overstated)
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET status = 'finished' WHERE id = ?", (run,))
    app.run()
    assert app.selectbox(key="choice of pair").value == device
    assert "comes first now. The pair above stays open." in text_of(app)
    app.selectbox(key="choice of pair").set_value(pair_id("ad", "interests")).run()
    assert "comes first now" not in text_of(app)


def test_performance_opens_on_the_field_whose_slice_is_furthest_off(opened: Opened) -> None:
    """It opened on the first column, and the worst slice was found by trying every field."""
    app = opened("performance")
    assert app.selectbox(key="choice of slice").value == "weekday"
    said = text_of(app)
    assert "316 rows: 15.8% predicted, **9.2%** observed (95%: 6.5% to 12.9%). Beyond chance." in said
    assert "1 of 103 slices is further off" in said
    assert "check the field's role on *Data*" in said
    other = app.button(key="slice 1")
    assert other.label == "country = France"
    other.click().run()
    assert app.selectbox(key="choice of slice").value == "country"


def test_train_and_runs_count_the_same_seconds_while_pairs_are_checked(opened: Opened, store: Store) -> None:
    """Train counted seconds of work and Runs those since the run began: 28.2 and 109.1 of the same run."""
    run = finished_copy(store, lambda folder: None)
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET status = 'queued' WHERE id = ?", (run,))
    assert store.claims.next(Process.current()) is not None
    metric = next(metric for metric in opened("train", run=run).metric if metric.label.startswith("seconds"))
    table = next(each.value for each in opened("runs").dataframe if "Seconds" in each.value)
    assert metric.label == "seconds so far"
    assert float(metric.value) == pytest.approx(float(table["Seconds"].iloc[0]), abs=0.05)


def test_models_of_a_comparison_that_has_ended_stand_beside_the_parts_of_another_run(
    opened: Opened, store: Store
) -> None:
    hint = "Start *Compare* from this run"
    run = finished_copy(store, lambda folder: None)
    assert hint in text_of(opened("performance", run=run))
    alone = finished_copy(store, lambda folder: None, seed=0, name="lr")
    with store.database.write() as connection:
        connection.execute("INSERT INTO comparisons VALUES ('c', 'models', 'local', 'models', '{}', 1.0, NULL)")
        connection.execute("UPDATE runs SET comparison = 'c' WHERE id = ?", (alone,))
    assert hint not in text_of(opened("performance", run=run))


def test_performance_says_that_a_model_is_worse_than_the_share_of_positives(opened: Opened, store: Store) -> None:
    def worse(folder: Path) -> None:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        values = metrics["test"]
        changed = {"logloss": 0.6, "normalised_entropy": 1.2, "normalised_entropy_low": 1.1}
        (folder / "metrics.json").write_text(json.dumps({**metrics, "test": {**values, **changed}}), encoding="utf-8")

    run, said = finished_copy(store, worse), "The model is worse than always predicting the share of positive rows"
    assert said in text_of(opened("performance", run=run))
    assert said in text_of(opened("train", run=run))
    assert said not in text_of(opened("performance"))


def test_a_slice_that_is_not_counted_is_named() -> None:
    table = pd.DataFrame(
        {"level": ["a", "b", "Other"], "rows": [900, 800, 22], "clicks": [90, 80, 3], "calibration_ratio": [1, 2, 0.5]}
    ).assign(low=[0.9, 1.5, 0.1], high=[1.1, 2.5, 0.9])
    said = finding(table, "calibration_ratio", 1.0)
    assert said.startswith("1 of 2 intervals misses 1; by chance, one in 20 would. The worst is b, with 2.00.")
    assert said.endswith("Too few positive rows to count: Other (22 rows, 3 positive).")
    assert finding(table[:1], "calibration_ratio", 1.0) == "Every interval contains 1."


def test_findings_of_a_sample_of_the_held_out_rows_say_so(opened: Opened, store: Store) -> None:
    """Of 120,000 test rows the worst slice was that of 2,000, and *Performance* told another."""

    def long(folder: Path) -> None:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        summary["rows"] |= {"test": 120_000, "valid": 500_000}
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")

    said = "Of a sample of 2,000 held-out rows; *Performance* judges all 120,000."
    assert said in text_of(opened("start", run=finished_copy(store, long)))
    assert said not in text_of(opened("start"))

    def of_one_part(folder: Path) -> None:
        long(folder)
        findings = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
        (folder / "findings.json").write_text(json.dumps({**findings, "spread": None}), encoding="utf-8")

    assert said in text_of(opened("start", run=finished_copy(store, of_one_part)))


def test_a_pair_that_was_learned_in_place_of_another_is_named(opened: Opened, store: Store) -> None:
    """In a shop's table, pages and minutes go together: the model has one of them, and said 0.00 of the other."""

    def explained_by_campaign(frame: pd.DataFrame) -> pd.DataFrame:
        texts = frame.astype(dict.fromkeys(("field_a", "field_b", "level_a", "level_b"), object))
        a, b = texts["field_a"], texts["field_b"]
        own = texts[(a == "device") & (b == "placement")]
        one, two = (list(dict.fromkeys(own["level_b"])), list(dict.fromkeys(texts[a == "campaign"]["level_a"])))
        named = dict(zip(one, two, strict=True))
        instead = own.assign(field_a="campaign", field_b="device", level_b=own["level_a"])
        instead["level_a"] = own["level_b"].map(named)
        alike = texts[(a == "campaign") & (b == "placement")]
        same = alike["level_b"].map(named) == alike["level_a"]
        alike = alike.assign(rows=alike["rows"].where(same, 0))
        own = own.assign(learned=0.0, learned_fm=0.0, clicks=own["expected"].round().astype(int))
        others = texts[~(a.isin(["campaign", "device"]) & b.isin(["device", "placement"]))]
        return pd.concat([others, own, instead, alike], ignore_index=True)

    def changed(folder: Path) -> None:
        def hardly(frame: pd.DataFrame) -> pd.DataFrame:
            first = frame["field_a"].eq("device") & frame["field_b"].eq("placement")
            return frame.assign(learned=frame["learned"].mask(first, 0.0))

        frame_changed(folder, "pairs", hardly)
        frame_changed(folder, "level_pairs", explained_by_campaign)

    named = "Here it has learned **device × campaign** instead: placement and campaign go together, so that pair"
    shown = opened("interactions", run=finished_copy(store, changed), pair=pair_id("device", "placement"))
    assert named in text_of(shown)
    assert "Here it has learned" not in text_of(opened("interactions"))


def test_two_levels_that_an_overstated_pair_does_not_overstate_are_said_to_be_so(opened: Opened, store: Store) -> None:
    def overstated(folder: Path) -> None:
        frame_changed(folder, "pairs", lambda frame: frame.assign(held_out_slope=0.2))
        frame_changed(folder, "level_pairs", lambda frame: frame.assign(learned=frame["learned"] * 0.5))

    shown = opened("interactions", run=finished_copy(store, overstated), pair=pair_id("device", "placement"))
    assert "These two levels are not overstated: that is said of the pair as a whole." in text_of(shown)


@pytest.mark.parametrize("page", ["start", "interactions"])
def test_a_pair_that_the_model_overstates_does_not_come_first(opened: Opened, store: Store, page: str) -> None:
    """Start, Interactions and the report have one order; the strongest of the sample is device × placement."""

    def overstated(folder: Path) -> None:
        def change(frame: pd.DataFrame) -> pd.DataFrame:
            first = frame["field_a"].eq("device") & frame["field_b"].eq("placement")
            return frame.assign(held_out_slope=frame["held_out_slope"].mask(first, 0.2))

        frame_changed(folder, "pairs", change)
        (folder / "findings.json").unlink()

    run = finished_copy(store, overstated)
    app = opened(page, run=run)
    assert "ad × interests" in text_of(app)
    report = report_html(Facts.of(store.folder(run)))
    assert "The pair to look at first is <b>ad × interests</b>" in report
    assert "device × placement is stronger, but the model overstates it." in report
    if page == "interactions":
        assert "The first to look at is **ad × interests**, with 0.41 log-odds in the data." in text_of(app)
        assert "device × placement is stronger, but the model overstates it." in text_of(app)
        shown = opened(page, run=run, pair=pair_id("device", "placement"))
        assert "It holds on held-out rows, but the model overstates it" in text_of(shown)


def test_the_page_says_which_pairs_guided_the_model(opened: Opened, store: Store) -> None:
    said = text_of(opened("interactions"))
    assert "from what each field does alone, and from 6 candidate pairs: device × placement" in said
    assert "A candidate has a chance of 20% or more to be real" in said
    assert "The check on held-out rows is one." in said


def test_the_page_says_how_many_rows_guided_a_model_of_more(opened: Opened, store: Store) -> None:
    def of_many(folder: Path) -> None:
        path = folder / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary["rows"]["train"] = 1_800_000
        summary["guide"] |= {"asked": 200_000, "rows": 1_800_000}
        path.write_text(json.dumps(summary), encoding="utf-8")

    said = text_of(opened("interactions", run=finished_copy(store, of_many)))
    assert "by the labels of 200,000 of 1,800,000 training rows" in said


def test_a_model_without_a_guide_says_nothing_of_one(opened: Opened, store: Store) -> None:
    def alone(folder: Path) -> None:
        path = folder / "summary.json"
        summary = {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if k != "guide"}
        path.write_text(json.dumps(summary), encoding="utf-8")

    assert "Guided" not in text_of(opened("interactions", run=finished_copy(store, alone)))


def test_a_stored_verdict_is_drawn_without_markup(opened: Opened, store: Store) -> None:
    """A bundle of a stranger may hold any text in its place."""

    def hostile(folder: Path) -> None:
        path = folder / "findings.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        found["pair"]["verdict"] = "holds ![x](https://elsewhere/x.png) <b>\n\n# [click](https://elsewhere)"
        path.write_text(json.dumps(found), encoding="utf-8")

    said = text_of(opened("start", run=finished_copy(store, hostile)))
    assert r"It holds !\[x\](https\://elsewhere/x.png) \<b\> \# \[click\](https\://elsewhere)" in said


def test_a_pairs_verdict_is_a_sentence_over_its_figures(opened: Opened) -> None:
    pairs = pd.read_parquet(BUNDLED / "frames" / "pairs.parquet")
    row = pairs[pairs["significant"].astype(bool)].sort_values("learned").iloc[0]
    app = opened("interactions", pair=pair_id(row["field_a"], row["field_b"]))
    assert "It holds on held-out rows" in text_of(app)
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["In the data"] == f"{row['strength']:.2f}"
    assert shown["In the model"] == f"{row['learned']:.2f}"
    assert shown["On held-out rows"] == f"{row['held_out_strength']:.2f}"
    assert shown["Knock-out (nats)"] == f"{row['knock_out_logloss']:+.4f}".replace("-", "−")
    assert shown["False discovery rate"] == "< 0.1%"
    assert f"90%: {row['strength_low']:.2f} to {row['strength_high']:.2f}" in text_of(app)
    assert all(metric.help for metric in app.metric)


def test_two_marks_are_drawn_at_first_and_the_rest_by_a_switch(opened: Opened) -> None:
    def legend(app: AppTest) -> list[str]:
        specs = [json.loads(chart.proto.spec) for chart in app.get("vega_lite_chart")]
        shapes = [view["encoding"]["shape"] for spec in specs for view in spec["layer"] if "shape" in view["encoding"]]
        return next(list(shape["scale"]["domain"]) for shape in shapes)

    app = opened("interactions")
    assert legend(app) == ["the data", "the model"]
    app.toggle(key="choice of marks").set_value(True).run()
    # FM pairs would lie under the model, since the DNN of the sample run adds nothing.
    assert legend(app) == ["the data", "DNN", "the model", "held-out rows"]
    assert opened("interactions", marks="on").toggle(key="choice of marks").value


def test_the_sentence_of_a_pair_names_the_cell_that_start_names(opened: Opened) -> None:
    said = next(text for text in (m.value for m in opened("start").markdown) if "beyond the two alone" in text)
    assert said in text_of(opened("interactions"))


def test_figures_that_were_not_computed_are_left_out(opened: Opened, store: Store) -> None:
    held_out = ("held_out_z", "held_out_strength", "held_out_slope", "knock_out_logloss", "knock_out_low")

    def not_held_out(folder: Path) -> None:
        frame_changed(folder, "pairs", lambda frame: frame.assign(**dict.fromkeys(held_out, float("nan"))))

    app = opened("interactions", run=finished_copy(store, not_held_out))
    assert [metric.label for metric in app.metric] == ["In the data", "In the model", "False discovery rate"]
    assert "hold on held-out rows" not in text_of(app)
    assert "**5 of 66** pairs are clear above noise in the data." in text_of(app)
    assert "Of the 5 clear ones, the model has all at least half as strong as the data." in text_of(app)
    assert "Only a check on held-out rows would be one." in text_of(app)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (verdicts.HOLDS, "It holds on held-out rows"),
        (verdicts.OVERSTATED, "but the model overstates it"),
        (verdicts.HARDLY_LEARNED, "but this model has learned less than half of it"),
        (verdicts.UNCONFIRMED, "but held-out rows do not confirm it"),
        (verdicts.NOT_LEARNED, "but the model has not learned it"),
        (verdicts.NOT_SUPPORTED, "Learned, but not supported"),
        (verdicts.DOES_NOT_HOLD, "does not hold"),
        (verdicts.STANDS_IN + "a × b", "stands in for a × b"),
        (verdicts.NOISE, "Not clear above noise"),
        ("", ""),
    ],
)
def test_every_verdict_has_its_sentence(verdict: str, said: str) -> None:
    sentence = verdict_sentence(pd.Series({"verdict": verdict}))
    assert said in sentence
    assert bool(sentence) == bool(verdict)


def test_a_pair_that_holds_is_said_to_be_overstated_or_learned_too_little() -> None:
    row = {"field_a": "a", "field_b": "b", "strength": 0.4, "significant": True, "held_out_z": 4.0}

    def said(**values: float) -> str:
        pairs = pd.DataFrame([{**row, **values}])
        return verdict_sentence(pairs.assign(verdict=verdicts.verdicts(pairs)).iloc[0])

    overstated = said(learned=0.9, held_out_slope=0.2, held_out_strength=0.1)
    assert "but the model overstates it" in overstated
    assert "0.10 log-odds, where this model has 0.90." in overstated
    allowed = said(learned=0.35, held_out_slope=0.2, held_out_strength=0.1, strength_low=0.2, strength_high=0.5)
    assert "The data's 0.20 to 0.50 would allow the model's figure. Held-out rows are the stricter test" in allowed
    assert "would allow" not in overstated
    assert "less than half of what was learned of it." in said(held_out_slope=0.2)
    unconfirmed = said(learned=0.4, held_out_z=0.7, held_out_slope=0.2, held_out_strength=0.03)
    assert "but held-out rows do not confirm it:**" in unconfirmed
    assert unconfirmed.endswith("They support 0.03 log-odds, 0.7 standard errors above zero; a pair holds from 2 on.")
    assert "do not confirm" not in said(learned=0.4, held_out_z=float("nan"))
    assert "this model has learned less than half of it" in said(learned=0.1, held_out_slope=3.0)
    assert said(learned=0.4, held_out_slope=1.0).endswith("predicts the others.")


def test_an_interval_that_touches_zero_or_that_held_out_rows_leave_is_explained() -> None:
    row = {"verdict": verdicts.HOLDS, "significant": True, "strength_low": 0.41, "strength_high": 0.54}
    below, inside = (pd.Series({**row, "held_out_strength": held}) for held in (0.39, 0.5))
    assert "Held-out rows support 0.39 log-odds, less than the data's 0.41 to 0.54" in verdict_sentence(below)
    above = verdict_sentence(pd.Series({**row, "held_out_strength": 0.6}))
    assert "Held-out rows support 0.60 log-odds, more than the data's 0.41 to 0.54" in above
    assert "support 0" not in verdict_sentence(inside)
    overstated = pd.Series({**below, "verdict": verdicts.OVERSTATED})
    assert "the data's" not in verdict_sentence(overstated)  # one story
    touching = {"verdict": verdicts.HOLDS, "significant": True, "strength_low": 0.0}
    assert "Its interval reaches down to zero" in verdict_sentence(pd.Series(touching))
    assert "reaches down" not in verdict_sentence(pd.Series({**touching, "significant": False}))


def test_too_few_rows_of_an_outcome_are_said_to_be_why_no_pair_is_clear() -> None:
    pairs = pd.DataFrame({"strength_high": [1.8, 0.3]})
    assert "only 46 of 10,000 rows are positive" in no_clear_pairs(pairs, (46, 10_000))
    assert "only 12 of 10,000 rows are negative" in no_clear_pairs(pairs, (9_988, 10_000))
    assert "probably below 1.80 log-odds" in no_clear_pairs(pairs, (500, 10_000))


def test_the_ledger_of_a_row_is_that_of_its_link(opened: Opened) -> None:
    examples = pd.read_parquet(BUNDLED / "frames" / "examples.parquet")
    row = examples.iloc[7]
    app = opened("examples", row=str(int(row["row"])))
    assert f"Row {int(row['row']):,}" in [header.value for header in app.header]
    assert f"{row['logit']:+.2f}" in app.latex[0].value


def test_the_purified_ledger_ends_at_the_same_logit_and_stands_in_the_link(opened: Opened) -> None:
    row = pd.read_parquet(BUNDLED / "frames" / "examples.parquet").iloc[7]
    terms = pd.read_parquet(BUNDLED / "frames" / "purified_terms.parquet").query("row == @row.row")
    assert terms["value"].sum() == pytest.approx(row["logit"], abs=1e-4)
    app = opened("examples", row=str(int(row["row"])), split="purified")
    assert "mean logit" in app.latex[0].value
    assert f"{row['logit']:+.2f}" in app.latex[0].value
    app.segmented_control[0].set_value("as trained").run()
    assert "first order" in app.latex[0].value


def test_a_run_from_before_the_purified_ledger_has_the_one_as_trained(opened: Opened, store: Store) -> None:
    def older(folder: Path) -> None:
        (folder / "frames" / "purified_terms.parquet").unlink()

    app = opened("examples", run=finished_copy(store, older))
    assert not app.segmented_control
    assert "first order" in app.latex[0].value


def test_runs_of_other_seeds_say_how_far_the_split_of_a_row_depends_on_them(opened: Opened, store: Store) -> None:
    store.import_table(ROOT / "sample_data" / "clicks.csv", "clicks.csv")
    finished_copy(store, lambda folder: None, seed=5)
    row = pd.read_parquet(BUNDLED / "frames" / "examples.parquet").iloc[7]
    opened("examples", row=str(int(row["row"])))
    answer_next(store)
    app = opened("examples", row=str(int(row["row"])))
    assert "Between 2 seeds, this row's FM logit differs by **0.00** log-odds" in text_of(app)


def test_the_dnn_logit_is_shown_by_field_with_its_completeness_error(opened: Opened, store: Store) -> None:
    def heard(folder: Path) -> None:
        frame_changed(folder, "examples", lambda rows: rows.assign(dnn_logit=0.5))
        frame_changed(folder, "dnn_attribution", lambda rows: rows.assign(baseline=0.1, error=-0.012))

    app = opened("examples", run=finished_copy(store, heard))
    assert "DNN logit by field" in [heading.value for heading in app.subheader]
    assert "from +0.10 for the mean training row to +0.50 for this row" in text_of(app)
    assert "except for a completeness error of −0.012" in text_of(app)


def test_a_dnn_that_adds_nothing_gets_a_sentence_and_no_charts(opened: Opened) -> None:
    app = opened("examples")
    headings = [heading.value for heading in app.subheader]
    assert "First-order logit and FM pairs" in headings
    assert not [heading for heading in headings if "DNN" in heading]
    assert "the DNN adds nothing, and its charts are left out" in text_of(app)


def test_other_values_run_the_model_and_end_at_its_own_logit(opened: Opened) -> None:
    examples = pd.read_parquet(BUNDLED / "frames" / "examples.parquet")
    cells = pd.read_parquet(BUNDLED / "frames" / "example_cells.parquet")
    row = examples.iloc[7]
    same = {"device": str(cells["device"].iloc[7])}
    app = opened("examples", row=str(int(row["row"])), **{"if": json.dumps(same)})
    logit = next(metric for metric in app.metric if metric.label == "Logit")
    assert float(logit.value.replace("−", "-")) == pytest.approx(row["logit"], abs=0.006)


def test_the_ledger_and_the_formula_follow_a_change(opened: Opened) -> None:
    row = pd.read_parquet(BUNDLED / "frames" / "examples.parquet").iloc[7]
    own = opened("examples", row=str(int(row["row"])))
    changed = opened("examples", row=str(int(row["row"])), **{"if": json.dumps({"device": "television"})})
    logit = next(metric.value for metric in changed.metric if metric.label == "Logit")
    assert f"({logit.replace(chr(0x2212), chr(45))})" in changed.latex[0].value  # KaTeX draws the hyphen as a minus
    assert changed.latex[0].value != own.latex[0].value
    ledgers = [str(chart.proto) for chart in changed.get("vega_lite_chart") if "logit so far" in str(chart.proto)]
    assert "(was " in ledgers[0]
    assert changed.segmented_control[0].disabled  # a changed row has no purified ledger
    assert "with your changes" in text_of(changed)


def test_rows_are_listed_with_their_values_and_kept_by_a_filter(opened: Opened) -> None:
    cells = pd.read_parquet(BUNDLED / "frames" / "example_cells.parquet").set_index("row")
    app = opened("examples")
    listed = app.dataframe[0].value
    assert {"row", "probability", "device", "price", "surprise"} <= set(listed.columns)
    assert list(listed["device"]) == list(cells.loc[listed["row"], "device"])
    assert pd.api.types.is_float_dtype(listed["price"])  # so that it sorts as a number
    app.multiselect[0].set_value(["device"]).run()
    app.multiselect[1].set_value(["tablet"]).run()
    listed = app.dataframe[0].value
    assert set(listed["device"]) == {"tablet"}
    assert f"{(cells['device'] == 'tablet').sum():,} of {len(cells):,} sampled rows pass." in text_of(app)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"device": "phon"}, "`phon` is not in the training rows. The most similar value there is `phone`."),
        ({"interests": "books|xyzzy"}, "`xyzzy` is not in the training rows"),
        ({"price": "1000000000"}, "1,000,000,000 is outside"),
        ({"price": "-5"}, "-5 is outside"),
    ],
)
def test_a_value_that_training_did_not_hold_is_said_to_be_so(
    opened: Opened, store: Store, changes: dict[str, str], says: str
) -> None:
    store.import_table(ROOT / "sample_data" / "clicks.csv", "clicks.csv")
    app = opened("examples", **{"if": json.dumps(changes)})
    assert says in app.warning[0].value.replace("\\", "")


def test_a_value_of_training_gets_no_warning(opened: Opened) -> None:
    app = opened("examples", **{"if": json.dumps({"device": "phone", "price": "20"})})
    assert not app.warning


@pytest.mark.parametrize(
    ("off", "count", "said"),
    [
        (0, 10, "No bucket is off"),
        (1, 10, "1 of 10 buckets is off. Chance alone would put as many off 40% of the time: no sign of a fault"),
        (
            4,
            10,
            "4 of 10 buckets are off. Chance alone would put as many off under 1% of the time, so",
        ),
    ],
)
def test_buckets_that_are_off_are_set_against_chance(off: int, count: int, said: str) -> None:
    assert off_by_chance(off, count).startswith(said)


def test_the_surface_of_two_numbers_is_drawn_on_request(opened: Opened) -> None:
    pair = pair_id("price", "age")
    before = opened("interactions", pair=pair)
    assert not before.get("plotly_chart")
    app = opened("interactions", pair=pair, surface="on")
    assert not app.exception
    assert len(app.get("plotly_chart")) == 1
    assert not opened("interactions", pair=pair_id("device", "placement"), surface="on").get("plotly_chart")


def run_without_a_pair(store: Store, a: str, b: str) -> str:
    """Put a run into the store that did not explain one of its pairs."""

    def left_out(folder: Path) -> None:
        frame_changed(
            folder,
            "pairs",
            lambda pairs: pairs.assign(
                learned=pairs["learned"].where((pairs["field_a"] != a) | (pairs["field_b"] != b))
            ),
        )
        frame_changed(folder, "level_pairs", lambda cells: cells[(cells["field_a"] != a) | (cells["field_b"] != b)])

    store.import_table(ROOT / "sample_data" / "clicks.csv", "clicks.csv")
    return finished_copy(store, left_out)


def test_a_pair_that_a_wide_run_did_not_explain_is_measured_when_it_is_opened(opened: Opened, store: Store) -> None:
    frame = pd.read_parquet(BUNDLED / "frames" / "pairs.parquet")
    a, b = (str(frame[side].iloc[20]) for side in ("field_a", "field_b"))
    known = float(frame["learned"].iloc[20])
    run = run_without_a_pair(store, a, b)
    app = opened("interactions", run=run, pair=pair_id(a, b))
    assert "measured for 65 of 66 pairs" in text_of(app)
    assert "In the model" not in str(app)
    answer = pd.read_parquet(answer_next(store))
    assert answer["pair_learned"].iloc[0] == pytest.approx(known, abs=5e-3)
    app = opened("interactions", run=run, pair=pair_id(a, b))
    assert f"{a} × {b}" in text_of(app)
    assert "Effect of two levels together" in text_of(app)


@pytest.mark.parametrize("stays", [False, True])
def test_a_damaged_measurement_of_a_pair_is_made_again_or_said_to_be_damaged(
    opened: Opened, store: Store, *, stays: bool
) -> None:
    frame = pd.read_parquet(BUNDLED / "frames" / "pairs.parquet")
    a, b = (str(frame[side].iloc[20]) for side in ("field_a", "field_b"))
    run = run_without_a_pair(store, a, b)
    opened("interactions", run=run, pair=pair_id(a, b))
    answer = answer_next(store)
    answer.write_bytes(b"cut short")
    if stays:  # a folder is not removed, like a file in a folder that may only be read
        answer.unlink()
        answer.mkdir()
        (answer / "part.parquet").write_bytes(b"cut short")
    app = opened("interactions", run=run, pair=pair_id(a, b))  # which comes to rest
    assert (UNREADABLE in text_of(app)) is stays
    assert bool(app.get("progress")) is not stays
    assert len(app.get("progress")) == (0 if stays else 1)
    assert answer.exists() is stays


def test_of_many_fields_those_that_weigh_most_come_first_and_the_others_on_request(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = opened("examples")
    whole = few.table[0].value
    assert not few.expander
    monkeypatch.setattr("app.views.examples.ledger.MOST_FIELDS", 3)
    app = opened("examples")
    assert [len(table.value) for table in app.table] == [3, len(whole) - 3]
    assert app.expander[0].label.startswith(f"{len(whole) - 3} more fields")
    assert set(app.table[0].value["field"]) | set(app.table[1].value["field"]) == set(whole["field"])
    listed = [list(next(t.value for t in page.dataframe if "surprise" in t.value)) for page in (few, app)]
    assert set(listed[0]) == set(listed[1])
    assert listed[0] != listed[1]
    assert listed[1][3] in ("device", "placement")  # the strongest pair


def test_how_a_pair_was_tested_says_what_each_figure_is(opened: Opened) -> None:
    (said,) = [caption.value for caption in opened("interactions").caption if "Knock-out" in caption.value]
    assert "held-out rows once the pair is taken out" in said
    assert "**False discovery rate:** how much of what is as clear as this pair would be noise" in said
    assert "**Level pairs:** how many pairs of levels have rows" in said


@pytest.mark.parametrize("page", ["interactions", "performance"])
def test_a_run_on_copies_of_rows_says_so_where_it_is_trusted(opened: Opened, store: Store, page: str) -> None:
    def copied(folder: Path) -> None:
        summary = json.loads((folder / "summary.json").read_text())
        summary["copies"] = {"count": 9000, "rows": 20000, "kept": True}
        (folder / "summary.json").write_text(json.dumps(summary))

    app = opened(page, run=finished_copy(store, copied))
    (said,) = (warning.value for warning in app.warning if "copies" in warning.value)
    assert said.startswith("9,000 of 20,000 rows are copies of others")
    assert said.endswith("scores and pairs look better than they are. Train again without the copies.")
    assert not [warning for warning in opened(page).warning if "copies" in warning.value]
