"""The page Learn, and the glossary, driven without a browser."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.views.learn.steps import ADDS
from app.widgets.columns import GLOSSARY, meaning
from deepfm_core.spec.models import MODELS
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store
from tests.app.test_compare import begin
from tests.app.test_embeddings import checked, kept, text_of
from tests.export.runs import rows, table, trained

Opened = Callable[..., AppTest]


def headed(app: AppTest) -> str:
    return "\n".join([text_of(app), *(heading.value for heading in app.header)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """Finished runs on a table with every kind of field."""
    home = tmp_path_factory.mktemp("runs")
    data = table(rows(), home / "rows.csv")
    models = ("lr", "dnn", "dcn", "deepfm")
    return {name: trained(data, name, home / name, explained=True, guided=False) for name in models}


@pytest.mark.slow
def test_the_sample_run_is_worked_through_in_six_steps(opened: Opened) -> None:
    app = checked(opened("learn"))
    assert [heading.value[0] for heading in app.header] == ["1", "2", "3", "4", "5", "6", "G"]
    said = text_of(app)
    assert "arxiv.org/abs/1703.04247" in said
    assert "since this run kept its guide alone" in said
    assert "Compare the models on this table" in [button.label for button in app.main.button]


@pytest.mark.slow
def test_the_numbers_of_a_row_are_those_of_the_run(opened: Opened, store: Store, folders: dict[str, RunFolder]) -> None:
    examples = pd.read_parquet(folders["deepfm"].path / "frames" / "examples.parquet")
    row = examples.iloc[5]
    app = checked(opened("learn", run=kept(store, folders["deepfm"]), row=str(row["row"])))
    said = text_of(app)
    total = f"{row['logit']:+.2f}".replace("-", "−")
    assert f"**{total} log-odds**, a probability of **{row['probability']:.1%}**" in said
    pair_by_pair = said.split("together **")[1].split("**")[0]
    by_identity = said.split("By the identity: **")[1].split("**")[0]
    assert pair_by_pair == by_identity


@pytest.mark.slow
def test_three_other_fields_can_be_chosen(opened: Opened) -> None:
    app = checked(opened("learn"))
    app.multiselect[0].set_value(["price", "age"]).run()
    assert "Choose three fields" in text_of(checked(app))
    app.multiselect[0].set_value(["price", "age", "site"]).run()
    assert "`price` × `age`" in text_of(checked(app))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lr", "dnn"])
def test_what_a_model_lacks_is_said(opened: Opened, store: Store, folders: dict[str, RunFolder], model: str) -> None:
    said = headed(checked(opened("learn", run=kept(store, folders[model]))))
    assert "has no FM pairs" in said
    assert ("has no DNN" in said) is (model == "lr")
    assert ("has no first-order terms" in said) is (model == "dnn")


@pytest.mark.slow
def test_a_cross_network_has_its_own_number(opened: Opened, store: Store, folders: dict[str, RunFolder]) -> None:
    terms = pd.read_parquet(folders["dcn"].path / "frames" / "example_terms.parquet")
    row = int(terms["row"].iloc[0])
    cross = terms[(terms["row"] == row) & (terms["term"] == "cross")]["value"].iloc[0]
    said = text_of(checked(opened("learn", run=kept(store, folders["dcn"]), row=str(row))))
    added = f"{cross:+.2f}".replace("-", "−")
    assert f"It adds **{added} log-odds**" in said
    assert "DNN + cross" in said


@pytest.mark.slow
def test_a_comparison_on_the_same_table_says_what_sharing_is_worth(opened: Opened, store: Store) -> None:
    begin(store, "deepfm", "fm-dnn")
    run = next(run for run in store.runs("local") if run.spec.model.name == "deepfm")
    app = checked(opened("learn", run=run.id))
    said = text_of(app)
    assert "DeepFM has AUC 0." in said
    assert "numbers to learn, FM & DNN 0." in said
    assert "The difference is" in said
    assert "See the comparison with intervals" in [button.label for button in app.main.button]


@pytest.mark.slow
def test_a_term_is_found_in_the_glossary(opened: Opened) -> None:
    app = checked(opened("learn"))
    app.text_input(key="glossary term").set_value("knock-out").run()
    assert "**knock-out**" in text_of(checked(app))
    assert "**dropout**" not in text_of(app)
    app.text_input(key="glossary term").set_value("no such `term`").run()
    assert "The glossary has no" in text_of(checked(app))


def test_the_glossary_is_in_the_order_of_the_alphabet_and_says_each_term_once() -> None:
    assert list(GLOSSARY) == sorted(GLOSSARY, key=str.lower)
    assert all(text[0].isupper() or text[0] == "K" for text in GLOSSARY.values())
    assert meaning("nats").startswith("**Nats.** The unit of logloss")


def test_every_model_is_said_what_it_adds() -> None:
    assert set(MODELS) <= set(ADDS)
