"""Copies of rows: told from honest repetition, left out or kept, and said."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from deepfm_core.encoding.splits import load_parts
from deepfm_core.errors import SpecError
from deepfm_core.evidence.cross_fit import out_of_fold_evidence
from deepfm_core.evidence.ranking import observed_of_table, rows_asked
from deepfm_core.schema.copies import Copies, learned_rows, look_for_copies
from deepfm_core.schema.infer import infer_schema, verdict
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.labels import labelled_rows
from deepfm_core.schema.schema import DROP, KEEP, ONCE, Schema
from deepfm_core.spec.run import RunSpec
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.table import Table


def noise(rows: int = 1500, seed: int = 0, rate: float = 0.3, planted: float = 0.0) -> pd.DataFrame:
    """Make numbers, categories and ids; labels depend on `cat1` and `cat2` together, by `planted`, or on nothing."""
    rng = np.random.default_rng(seed)
    columns: dict[str, np.ndarray] = {}
    for place in range(4):
        columns[f"num{place}"] = rng.normal(size=rows).round(4)
        columns[f"cat{place}"] = rng.integers(0, 6, rows).astype(str)
        columns[f"id{place}"] = rng.integers(0, 40, rows).astype(str)
    together = (columns["cat1"] < "3") == (columns["cat2"] < "3")
    logit = np.log(rate / (1 - rate)) + planted * (together - 0.5)
    frame = pd.DataFrame(columns).replace({f"cat{k}": {str(v): f"v{v}" for v in range(6)} for k in range(4)})
    frame = frame.assign(**{f"id{k}": "u" + frame[f"id{k}"] for k in range(4)})
    return frame.assign(clicked=(rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int))


def doubled(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    return pd.concat([frame, frame], ignore_index=True)


def shuffled(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    return pd.concat([frame] * 5).sample(frac=1, random_state=seed)


def partly(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    times = np.where(rng.random(len(frame)) < 0.3, rng.integers(2, 6, len(frame)), 1)
    return frame.loc[frame.index.repeat(times)].sample(frac=1, random_state=seed)


def numbered(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Double a table, and give every row a number of its own."""
    both = doubled(frame)
    return both.assign(row=np.arange(len(both)))


def few(rows: int, values: int = 4, seed: int = 0) -> pd.DataFrame:
    """Make a table of four fields with few values, in which rows are alike by chance."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"field{k}": rng.choice(list("abcdefghij")[:values], rows) for k in range(4)})
    return frame.assign(clicked=(rng.random(rows) < 0.3).astype(int))


def log(rows: int = 6000, seed: int = 0, base: float = -2.0, spread: float = 1.0) -> pd.DataFrame:
    """Make impressions of advertisements to users who return; numbers and texts of both stand in every row."""
    rng = np.random.default_rng(seed)
    users = pd.DataFrame({"user": [f"u{k}" for k in range(200)], "income": rng.normal(size=200).round(5)})
    ads = pd.DataFrame({"ad": [f"a{k}" for k in range(30)], "price": rng.gamma(2, 3, 30).round(3)})
    u, a = rng.zipf(1.5, rows) % 200, rng.integers(0, 30, rows)
    logit = base + spread * rng.normal(size=(200, 30))[u, a]
    clicked = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int)
    rows_of = [users.iloc[u].reset_index(drop=True), ads.iloc[a].reset_index(drop=True)]
    return pd.concat(rows_of, axis=1).assign(clicked=clicked)


def understood(frame: pd.DataFrame, copies: str = DROP) -> tuple[Table, Schema]:
    table = table_from_frame(frame, "clicks.csv")
    return table, infer_schema(table, "clicked", copies=copies)


def found(frame: pd.DataFrame) -> Copies:
    table, schema = understood(frame)
    return look_for_copies(table.frame, schema, table.name).copies


@pytest.mark.parametrize("copied", [doubled, shuffled, partly, numbered])
def test_copies_are_counted_and_each_row_is_left_once(copied):
    frame = copied(noise())
    table, schema = understood(frame)
    rows, labels, copies = look_for_copies(table.frame, schema, table.name)
    assert copies == Copies(len(frame) - 1500, len(frame), kept=False)
    left = frame.iloc[rows]
    assert not left.drop(columns="row", errors="ignore").duplicated().any()
    assert (left["clicked"].to_numpy() == labels).all()
    assert (rows == np.sort(rows)).all()


@pytest.mark.parametrize(
    "honest",
    [
        noise(),
        few(300),
        few(5000),
        log(),
        log(base=-4.5),
        log(spread=4.0),
        log().assign(event=np.arange(6000)),
        few(2000, 2).assign(clicked=lambda rows: ((rows.field0 == "a") ^ (rows.field1 == "a")).astype(int)),
    ],
    ids=["noise", "few", "more of few", "log", "rare clicks", "strong pairs", "events", "labels without noise"],
)
def test_honest_repetition_is_no_copy(honest):
    table, schema = understood(honest)
    assert not found(honest)
    rows, labels = learned_rows(table.frame, schema, table.name)
    all_rows, all_labels = labelled_rows(table.frame, schema.label, table.name)
    assert (rows == all_rows).all()
    assert (labels == all_labels).all()
    assert not any("copies" in remark for remark in verdict(table, schema))


def over_time(frame: pd.DataFrame) -> pd.DataFrame:
    seconds = np.sort(np.random.default_rng(5).integers(0, 30 * 86_400, len(frame)))
    return frame.assign(seen=[str(pd.Timestamp("2024-01-01") + pd.Timedelta(seconds=each)) for each in seconds])


def in_batches(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(batch=[f"b{place * 6 // len(frame)}" for place in range(len(frame))])


@pytest.mark.parametrize(
    ("column", "values"),
    [("exported_at", ("2024-05-01 10:00", "2024-05-02 10:00")), ("source", ("old", "new")), ("version", ("1", "2"))],
)
def test_copies_but_for_a_time_or_a_source_are_told_and_kept(column, values):
    frame = noise()
    both = pd.concat([frame.assign(**{column: value}) for value in values], ignore_index=True)
    table, schema = understood(both)
    rows, _, copies = look_for_copies(table.frame, schema, table.name)
    assert len(rows) == 3000
    assert copies == Copies(0, 3000, nearly=1500, besides=(column,))
    assert f"1,500 of 3,000 rows are copies of others but for `{column}`" in verdict(table, schema)[1]
    assert "ignore it" in copies.said_of_run
    assert Copies.of_run({"copies": asdict(copies) | {"besides": [column]}}) == copies
    ignored = schema.with_kinds({column: Kind.IGNORE})
    assert look_for_copies(table.frame, ignored, table.name).copies == Copies(1500, 3000)
    kept = look_for_copies(table.frame, replace(schema, copies=KEEP), table.name).copies
    assert (kept.nearly, kept.kept, kept.flatter) == (1500, False, True)


def test_copies_and_copies_but_for_a_time_are_both_said():
    frame = noise()
    both = pd.concat([frame.assign(batch="x"), frame.assign(batch="x"), frame.assign(batch="y")], ignore_index=True)
    for copies, count, nearly in ((DROP, 1500, 1500), (KEEP, 1500, 1500)):
        table, schema = understood(both, copies)
        seen = look_for_copies(table.frame, schema, table.name).copies
        assert (seen.count, seen.nearly, seen.rows) == (count, nearly, 4500)
        assert "1,500 of 4,500 rows are copies of others: alike" in seen.said
        assert "rows are copies of others but for `batch`" in seen.said


@pytest.mark.parametrize("honest", [few(5000), log(base=-4.5), log(spread=4.0)])
@pytest.mark.parametrize("more", [over_time, in_batches, lambda frame: frame.sort_values(next(iter(frame)))])
def test_honest_rows_with_times_or_in_blocks_are_no_copies(honest, more):
    assert not found(more(honest))


def test_a_copied_table_of_few_values_keeps_its_honest_repetition():
    frame = few(3000, 6)
    assert frame.duplicated().sum() > 1000
    table, schema = understood(pd.concat([frame] * 3).sample(frac=1, random_state=0))
    rows, _, copies = look_for_copies(table.frame, schema, table.name)
    assert copies.count == 6000
    left = table.frame.iloc[rows].astype(str).value_counts()
    pd.testing.assert_series_equal(left.sort_index(), frame.astype(str).value_counts().sort_index())


def test_events_delivered_twice_are_copies_though_their_fields_repeat_honestly():
    events = log().assign(event=np.arange(6000))
    table, schema = understood(pd.concat([events, events.sample(frac=0.3, random_state=1)], ignore_index=True))
    assert not schema.role("event").kind.is_used  # each of the 6,000 numbers is one event
    rows, _, copies = look_for_copies(table.frame, schema, table.name)
    assert copies.count == 1800
    assert (rows == np.arange(6000)).all()


def test_a_rare_class_that_was_repeated_is_found():
    frame = noise(3000, rate=0.1)
    assert found(pd.concat([frame, *[frame[frame["clicked"] == 1]] * 8])).count == 8 * frame["clicked"].sum()


def test_few_copies_change_nothing():
    frame = noise()
    assert not found(pd.concat([frame, frame.head(10)]))


def test_copies_do_not_turn_columns_into_leaks():
    frame = noise().assign(session=lambda rows: [f"s{k:05}" for k in range(len(rows))])
    _, plain = understood(frame)
    _, schema = understood(shuffled(frame))
    assert [role.kind for role in schema.roles] == [role.kind for role in plain.roles]
    assert schema.warnings == plain.warnings


def test_the_choice_is_to_leave_out_to_keep_or_to_take_alike_rows_once():
    frame = doubled(noise())
    table, schema = understood(frame, KEEP)
    rows, _, copies = look_for_copies(table.frame, schema, table.name)
    assert len(rows) == 3000
    assert copies == Copies(1500, 3000, kept=True)
    assert "They are kept, so held-out rows hold copies" in verdict(table, schema)[1]
    head, remark, *_ = verdict(table, replace(schema, copies=DROP))
    assert "They are left out" in remark
    assert head.startswith("3,000 rows (1,500 left out as copies), label")
    assert verdict(table, schema)[0].startswith("3,000 rows, label")
    honest = few(300)
    table, schema = understood(honest, ONCE)
    assert len(learned_rows(table.frame, schema, table.name)[0]) == len(honest.drop_duplicates())
    with pytest.raises(SpecError, match="Use drop, keep or once"):
        understood(frame, "twice")


def test_roles_of_an_earlier_version_keep_copies():
    _, schema = understood(few(300))
    values = schema.to_dict()
    assert Schema.from_dict(values) == schema
    del values["copies"]
    assert Schema.from_dict(values).copies == KEEP
    assert not Copies.of_run({"rows": {"train": 3}})


def parts_of(frame: pd.DataFrame, copies: str = DROP, **tables: pd.DataFrame):
    table, schema = understood(frame, copies)
    own = {"own": table, **{name: table_from_frame(each, f"{name}.csv") for name, each in tables.items()}}
    spec = RunSpec("own", "clicks.csv", schema, test_table="test" if tables else None)
    return load_parts(spec, own.__getitem__)


def test_no_row_stands_in_two_parts_and_the_run_says_what_was_left_out():
    frame = partly(noise())
    parts = parts_of(frame)
    assert len(parts.train) + len(parts.valid) + len(parts.test) == 1500
    rows = frame.iloc[np.concatenate([parts.train.rows, parts.valid.rows, parts.test.rows])]
    assert not rows.duplicated().any()
    assert parts.notes[0] == parts.copies.said
    assert "are left out, because with them noise looks like a finding" in parts.notes[0]


@pytest.mark.parametrize("honest", [few(3000), log(), noise()], ids=["few", "log", "noise"])
def test_a_table_of_honest_rows_is_divided_as_before(honest):
    now, before = parts_of(honest), parts_of(honest, KEEP)
    for name in ("train", "valid", "test"):
        assert (getattr(now, name).rows == getattr(before, name).rows).all()
    assert now.notes == before.notes == ()


def test_a_test_table_of_copies_is_told():
    frame = noise()
    parts = parts_of(frame.head(1200), test=frame.tail(400))
    assert len(parts.test) == 400
    copied = parts_of(frame.head(1200), test=frame.tail(1500))
    assert "test.csv: " in copied.notes[-1]
    assert "are copies of rows trained on" in copied.notes[-1]
    twice = parts_of(frame.head(1000), test=doubled(frame.tail(500)))
    assert len(twice.test) == 500
    assert twice.notes == (
        "test.csv: 500 of 1,000 rows are copies of others: alike in every field and in the label. They are left out, "
        "because with them intervals are too narrow.",
    )
    assert parts_of(few(2000), test=few(500, seed=1)).notes == ()


@pytest.mark.parametrize("rows", [40, 500])
def test_a_test_table_of_copies_but_for_a_time_is_told(rows):
    frame = over_time(noise())
    later = frame.head(rows).assign(seen=[f"2024-03-{1 + place % 20:02d} 10:{place % 60:02d}" for place in range(rows)])
    (said,) = [note for note in parts_of(frame, test=later).notes if "copies" in note]
    assert f"of {rows} rows are copies of rows trained on but for `seen`: alike in every other field" in said
    (exact,) = [note for note in parts_of(frame, test=frame.head(rows)).notes if "copies" in note]
    assert "trained on, so its figures" in exact
    without = parts_of(frame.drop(columns="seen"), test=frame.head(rows).drop(columns="seen"))
    assert any("copies of rows trained on, so" in note for note in without.notes)


@pytest.mark.parametrize("more", [lambda frame: frame, over_time, in_batches])
@pytest.mark.parametrize("honest", [log(), log(base=-4.5), few(3000)], ids=["log", "rare clicks", "few"])
def test_a_test_table_of_an_honest_log_holds_no_copies(honest, more):
    frame = more(honest)
    for rows in (100, 1000):
        parts = parts_of(frame.head(len(frame) - rows), test=frame.tail(rows))
        assert not [note for note in parts.notes if "copies" in note]


@pytest.mark.parametrize("copied", [doubled, shuffled, partly, numbered])
@pytest.mark.parametrize("seed", range(3))
def test_no_pair_of_copied_noise_is_clear(copied, seed):
    table, schema = understood(copied(noise(seed=seed), seed))
    pairs = observed_of_table(table, schema)
    assert not pairs["significant"].any()
    held = out_of_fold_evidence(rows_asked(table, schema))
    assert held["held_out_z"].max() < 4.0
    if seed == 0:
        kept = observed_of_table(table, replace(schema, copies=KEEP))
        assert kept["significant"].sum() > 10


@pytest.mark.parametrize("copied", [doubled, partly])
def test_a_planted_pair_of_a_copied_table_has_the_p_value_of_its_distinct_rows(copied):
    frame = noise(planted=2.0)
    plain = observed_of_table(*understood(frame))
    copies = observed_of_table(*understood(copied(frame)))
    for pairs in (plain, copies):
        first = pairs.iloc[0]
        assert {first["field_a"], first["field_b"]} == {"cat1", "cat2"}
        assert first["significant"]
        assert pairs["significant"].sum() == 1
    assert copies["observed_z"].iloc[0] == pytest.approx(plain["observed_z"].iloc[0], rel=0.1)
