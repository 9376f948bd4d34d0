"""Texts in one piece of memory read like a tuple."""

import copy
import pickle

from hypothesis import given
from hypothesis import strategies as st

from deepfm_core.tables.table import Texts


@given(st.lists(st.text(max_size=4), max_size=8), st.slices(8))
def test_texts_read_like_the_tuple_they_stand_for(strings, part):
    texts = Texts(strings)
    assert tuple(texts) == tuple(strings)
    assert len(texts) == len(strings)
    assert texts[part] == tuple(strings)[part]
    assert [texts[place] for place in range(-len(strings), len(strings))] == strings * 2
    assert texts == tuple(strings)
    assert hash(texts) == hash(tuple(strings))
    assert copy.deepcopy(texts) == pickle.loads(pickle.dumps(texts)) == texts
    assert texts != Texts([*strings, "more"])
