"""The page Compare and what it adds to Runs, driven without a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.views.compare import results
from deepfm_core.experiments import comparison as experiments_comparison
from deepfm_core.experiments.advice import advice_sentences, advise
from deepfm_core.experiments.comparison import COMPARED, ComparisonPlan
from deepfm_core.runs.engine import execute
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.schema import ONCE
from deepfm_core.spec.run import RunSpec, SplitSpec
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.workers.lane import perform
from tests.conftest import clicks

pytestmark = pytest.mark.slow

Opened = Callable[..., AppTest]
SMALL = {"embedding_size": 4, "layers": (8,), "epochs": 2, "batch_size": 256}


def text_of(app: AppTest) -> str:
    elements = [*app.markdown, *app.caption, *app.info, *app.header, *app.subheader, *app.warning]
    return "\n".join(str(element.value) for element in elements)


def button(app: AppTest, label: str):
    return next(button for button in app.button if button.label == label)


def begin(
    store: Store, *models: str, runs: int = 100, owner: str = "local", seeds: int = 1, apart: bool = False
) -> str:
    """Begin a comparison and do some of its runs."""
    entry = store.import_table(clicks(900).to_csv(index=False).encode(), "mine.csv")
    base = RunSpec(entry.sha256, entry.name, infer_schema(store.table(entry.sha256), "clicked"))
    if apart:
        other = store.import_table(clicks(200, seed=1).to_csv(index=False).encode(), "their_*own*.csv")
        base = replace(base, test_table=other.sha256, test_table_name=other.name)
    plan = ComparisonPlan(models, seeds=seeds, chosen=SMALL)
    comparison = experiments_comparison.begin(store, base, 720, plan, owner=owner)
    for _ in range(runs):
        run = store.claims.next(Process.current(), comparison)
        if run is None:
            break
        list(perform(store, run, execute, Process.current()))
    return comparison


def test_without_a_comparison_the_page_offers_all_models_and_one_button(opened: Opened, store: Store) -> None:
    app = opened("compare")
    assert f"{len(COMPARED) + 1} runs" in text_of(app)
    button(app, "Compare").click().run()
    assert not app.exception
    assert not app.error
    row = store.comparisons.all("local", "models")[0]
    assert row.plan["models"] == list(COMPARED)
    assert len(store.comparisons.runs(row.id)) == len(COMPARED) + 1
    assert "0 of 14 runs finished" in text_of(app)
    assert "as soon as the first run has finished" in text_of(app)


def test_none_and_all_choose_models_and_none_says_what_to_do(opened: Opened, store: Store) -> None:
    app = opened("compare")
    length = next(caption.value for caption in app.caption if "14 runs" in caption.value)
    assert "Roughly " in length  # by the sample run
    button(app, "None").click().run()
    assert app.query_params["models"] == "none"
    assert app.info[0].value == "Choose at least one model to compare."
    assert "Compare" not in [each.label for each in app.button]
    app.pills[0].set_value(["lr", "fm"]).run()
    assert app.query_params["models"] == "lr,fm"
    button(app, "All models").click().run()
    assert "models" not in app.query_params


def test_models_seeds_and_baseline_come_from_the_url(opened: Opened, store: Store) -> None:
    app = opened("compare", models="fm,lr", seeds="2", baseline="no", preset="quick")
    assert "4 runs" in text_of(app)
    button(app, "Compare").click().run()
    plan = store.comparisons.all("local", "models")[0].plan
    assert (plan["models"], plan["seeds"], plan["baseline"], plan["preset"]) == (["fm", "lr"], 2, False, "quick")


def test_a_link_made_under_the_baseline_s_earlier_name_still_holds(opened: Opened, store: Store) -> None:
    app = opened("compare", models="fm,lr", yardstick="no")
    assert "2 runs" in text_of(app)
    assert app.query_params == {"models": "fm,lr", "baseline": "no"}


def test_the_table_fills_in_as_runs_end(opened: Opened, store: Store) -> None:
    comparison = begin(store, "lr", "fm", runs=1)
    app = opened("compare", comparison=comparison)
    assert not app.exception
    table = app.dataframe[0].value
    assert list(table["Model"]) == ["LR", "FM", "Gradient boosting"]
    assert list(table["Runs"]) == ["1", "0 of 1", "0 of 1"]
    assert "Parameters" not in table  # makes room for how many have finished
    assert "Time" in table
    assert "No other model has finished" in text_of(app)


def test_a_finished_comparison_says_what_is_more_than_noise(opened: Opened, store: Store) -> None:
    comparison = begin(store, "lr", "fm", "deepfm", seeds=2)
    app = opened("compare", comparison=comparison, order="paper")
    assert not app.exception
    said = text_of(app)
    assert "all 7 runs finished" in said
    assert "has the lowest logloss" in said
    assert "the baseline" in said
    assert "and of seeds, drawn together" in said
    assert not {"Parameters", "Runs"} & set(app.dataframe[0].value)  # would not fit beside the spread over seeds
    assert "The CSV has more columns, such as normalised entropy" in said
    assert "Recommended settings · 2 seeds · split at random: 720 rows to train, 90 to validate, 90 to test" in said
    assert list(app.dataframe[0].value["Model"]) == ["LR", "FM", "DeepFM", "Gradient boosting"]
    assert "±" in app.dataframe[0].value["AUC"].iloc[0]
    assert "0.7850" in set(app.dataframe[1].value["Criteo AUC"])


def test_a_finished_comparison_says_which_model_to_use_and_so_does_start(opened: Opened, store: Store) -> None:
    comparison = begin(store, "lr", "fm")
    runs = store.comparisons.runs(comparison)
    advice = advise(store, runs)
    assert advice is not None
    use, more = advice_sentences(advice)
    app = opened("compare", comparison=comparison)
    assert "Which model should I use?" in text_of(app)
    assert use in text_of(app)
    assert more in text_of(app)
    start = opened("start", run=runs[0].id)
    start.run().run()  # the rest of the page is drawn a moment later
    assert use in text_of(start)
    assert button(start, "See the comparison")


def test_while_runs_are_left_no_model_is_advised_and_start_offers_to_compare(opened: Opened, store: Store) -> None:
    comparison = begin(store, "lr", "fm", runs=2)
    app = opened("compare", comparison=comparison)
    assert "**Use " not in text_of(app)
    assert "So far, with 2 of 3 runs finished, **" in text_of(app)
    assert "has the lowest logloss" in text_of(app)
    start = opened("start")
    start.run().run()
    assert "**Use " not in text_of(start)
    button(start, "Compare models").click().run()
    assert not start.exception


@pytest.mark.parametrize("done", [0, 1])
def test_start_does_not_offer_to_compare_what_is_being_compared(opened: Opened, store: Store, done: int) -> None:
    comparison = begin(store, "lr", "fm", runs=done)
    spec = replace(store.comparisons.runs(comparison)[0].spec, seed=7)
    alone = store.begin(spec, Process.current(), "by itself")
    list(perform(store, alone, execute, Process.current()))
    start = opened("start", run=alone.id)
    start.run().run()
    assert "Models are being compared on this table" in text_of(start)
    assert button(start, "See the comparison")
    experiments_comparison.cancel(store, comparison)
    start.run().run()
    assert button(start, "Compare models")


def test_compare_opens_with_all_that_was_chosen_of_the_runs_table(opened: Opened, store: Store) -> None:
    entry = store.import_table(clicks(900).to_csv(index=False).encode(), "mine.csv")
    schema = infer_schema(store.table(entry.sha256), "clicked", copies=ONCE)
    spec = RunSpec(entry.sha256, entry.name, schema).with_settings(SMALL)
    run = store.begin(spec, Process.current(), "alone")
    list(perform(store, run, execute, Process.current()))
    start = opened("start", run=run.id)
    start.run().run()
    button(start, "Compare models").click().run()
    assert start.query_params["copies"] == ONCE


def test_a_link_that_names_a_run_alone_offers_its_table_until_another_is_chosen(opened: Opened, store: Store) -> None:
    entry = store.import_table(clicks(900).to_csv(index=False).encode(), "mine.csv")
    roles = infer_schema(store.table(entry.sha256), "clicked", positive="0")
    spec = RunSpec(entry.sha256, entry.name, roles, split=SplitSpec(valid=0.2))
    run = store.enqueue(spec, "DeepFM on mine.csv", "local")
    app = opened("compare", run=run)
    assert "**mine.csv**: 900 rows" in text_of(app)
    assert app.query_params["positive"] == "0"
    assert app.query_params["split"] == '{"valid":0.2}'
    app.sidebar.selectbox[0].set_value("sample").run()
    assert "**clicks.csv**: 20,000 rows" in text_of(app)  # what a run brought goes with it
    assert "positive" not in app.query_params
    data = opened("data", run=run)
    assert data.header[0].value == "mine.csv"
    data.selectbox(key="table to show").select_index(1).run()
    chosen = data.header[0].value
    assert chosen == "clicks.csv"
    data.run()
    assert data.header[0].value == chosen  # the visitor's choice stays


def test_a_holdout_table_is_named_in_the_panel(opened: Opened, store: Store) -> None:
    app = opened("compare", comparison=begin(store, "lr", apart=True))
    assert r"split at random: 810 rows to train, 90 to validate, 200 of their\_\*own\*.csv to test" in text_of(app)
    assert "200 test rows" in text_of(app)


def test_all_runs_are_cancelled_resumed_deleted_and_brought_back_together(opened: Opened, store: Store) -> None:
    comparison = begin(store, "lr", "fm", runs=1)
    app = opened("compare", comparison=comparison)
    button(app, "Cancel all").click().run()
    assert [run.state for run in store.comparisons.runs(comparison)] == ["finished", "cancelled", "cancelled"]
    app = opened("compare", comparison=comparison)
    button(app, "Resume").click().run()
    assert [run.state for run in store.comparisons.runs(comparison)] == ["finished", "queued", "queued"]
    app = opened("compare", comparison=comparison)
    button(app, "Delete").click().run()
    assert store.runs() == []
    assert "You can bring it back" in text_of(app)
    button(app, "Undo").click().run()
    assert len(store.comparisons.runs(comparison)) == 3
    assert "1 of 3 runs finished" in text_of(app)


def test_a_link_shows_a_comparison_of_somebody_else_without_its_buttons(opened: Opened, store: Store) -> None:
    comparison = begin(store, "lr", runs=1, owner="ann")
    app = opened("compare", comparison=comparison)
    assert "1 of 2 runs finished" in text_of(app)
    assert not [button.label for button in app.button if button.label in ("Cancel all", "Delete")]
    assert "0 of" not in text_of(opened("compare"))


def test_a_link_to_a_comparison_that_is_gone_says_so(opened: Opened) -> None:
    app = opened("compare", comparison="abcdefghjkmnpqrs")
    assert "is not in the store" in app.warning[0].value
    assert button(app, "Compare")


def test_runs_of_comparisons_stay_out_of_the_lists_until_asked_for(opened: Opened, store: Store) -> None:
    begin(store, "lr", "fm", runs=0)
    app = opened("runs")
    assert not app.dataframe
    assert app.sidebar.selectbox[0].options == ["sample run"]
    app.toggle[0].set_value(True).run()
    assert len(app.dataframe[0].value) == 3
    assert "Gradient boosting" in set(app.dataframe[0].value["Model"])


def test_siblings_of_a_comparisons_run_can_be_set_beside_it(opened: Opened, store: Store) -> None:
    comparison = begin(store, "lr", "fm")
    first, second, _ = store.comparisons.runs(comparison)
    app = opened("performance", run=first.id, compare=second.id)
    assert not app.exception
    assert not app.error
    said = text_of(app)
    assert "On the same rows, the logloss is" in said
    assert "Difference: this run − compared run" in said
    assert "the same draws for both runs" in said
    assert "One of the two runs has no pairs" not in said
    assert "fm" in set(app.dataframe[0].value["fm on mine.csv"])


def test_runs_judged_on_other_rows_are_not_set_against_each_other(opened: Opened, store: Store) -> None:
    comparison = begin(store, "fm")
    app = opened("performance", compare=store.comparisons.runs(comparison)[0].id)
    assert not app.exception
    assert "tested on another table" in text_of(app)


@pytest.mark.parametrize("view", ["train", "performance", "interactions", "examples", "start"])
def test_pages_show_a_run_of_the_baseline_without_an_error(view: str, opened: Opened, store: Store) -> None:
    comparison = begin(store, "lr")
    app = opened(view, run=store.comparisons.runs(comparison)[-1].id)
    assert not app.exception
    assert not app.error


def test_performance_shows_the_ladder_next_to_models_trained_alone(opened: Opened, store: Store) -> None:
    app = opened("performance")
    assert "What each part adds" in text_of(app)
    assert "its comparison shows LR, FM and DNN here" in text_of(app)
    comparison = begin(store, "lr", "fm", "dnn", "deepfm")
    app = opened("performance", run=store.comparisons.runs(comparison)[3].id)
    assert not app.exception
    assert "DeepFM's logit is a sum" in text_of(app)
    assert "Compare this model with LR" not in text_of(app)


def table(*rows: tuple[str, float, float | None, float | None, float | None], baseline: bool = False) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["title", "logloss", "logloss_difference", "logloss_low", "logloss_high"])
    return frame.assign(baseline=baseline, part="test", rows=2000, runs=3)


def test_the_verdict_names_the_models_that_differ_by_no_more_than_noise() -> None:
    best, near = ("DeepFM", 0.361, None, None, None), ("FM", 0.362, 0.001, -0.002, 0.004)
    worse = ("LR", 0.377, 0.016, 0.01, 0.02)
    assert "FM differs by no more than noise; LR is worse by more" in results.verdict(table(best, near, worse))
    assert "But no difference between the models is more than noise on these 2,000 test rows" in (
        results.verdict(table(best, near))
    )
    assert "Every other model is worse by more than noise" in results.verdict(table(best, worse))
    early = results.verdict(table(best, worse), so_far="2 of 14 runs finished")
    assert early.startswith("So far, with 2 of 14 runs finished, **DeepFM** has the lowest logloss")
    assert early.endswith(". LR is worse by more than noise.")


def test_a_time_far_below_that_of_lr_is_not_zero() -> None:
    assert [results._times(ratio) for ratio in (float("nan"), 0.04, 0.1, 2.0)] == ["–", "< 0.1 ×", "0.1 ×", "2.0 ×"]


def test_copies_that_are_left_out_are_counted_in_the_form_and_beside_the_result(opened: Opened, store: Store) -> None:
    frame = clicks(300)
    entry = store.import_table(pd.concat([frame, frame]).to_csv(index=False).encode(), "twice.csv")
    form = opened("compare", table=entry.sha256)
    assert "600 rows (300 left out as copies)" in text_of(form)
    base = RunSpec(entry.sha256, entry.name, infer_schema(store.table(entry.sha256), "clicked"))
    plan = ComparisonPlan(("lr",), chosen=SMALL, baseline=False)
    comparison = experiments_comparison.begin(store, base, 240, plan)
    run = store.claims.next(Process.current(), comparison)
    assert run is not None
    list(perform(store, run, execute, Process.current()))
    app = opened("compare", comparison=comparison)
    assert "600 rows, 300 left out as copies" in text_of(app)
    assert "such as normalised entropy." in text_of(app)  # the table shows the parameters


def test_models_that_kept_their_guide_alone_are_said_to_be_the_same() -> None:
    assert results.alike_sentence({"FM": [False, False], "LR": [None], "DeepFM": [False, True]}) == ""
    said = results.alike_sentence({"FM": [False], "LR": [None], "DeepFM": [False]})
    assert said.startswith("FM and DeepFM are the same model here")


def test_curves_of_runs_validated_on_other_rows_are_said_to_be_so(opened: Opened, store: Store) -> None:
    begin(store, "lr", "fm", runs=2)
    assert "Not all runs are validated on the same rows" not in text_of(opened("runs", all="1"))
    spec = replace(store.runs()[-1].spec, split=SplitSpec(valid=0.3))
    store.enqueue(spec)
    run = store.claims.next(Process.current())
    assert run is not None
    list(perform(store, run, execute, Process.current()))
    assert "Not all runs are validated on the same rows" in text_of(opened("runs", all="1"))
