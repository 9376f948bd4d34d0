"""What a model learned: the terms of a row's logit, and the strength of each pair.

`learned` measures pairs, `purify` removes their additive part, and `row_terms` splits a row's logit. `frames` and
`row_terms` make the frames that a run stores. What the labels say, without a model, is in `evidence`.
"""
