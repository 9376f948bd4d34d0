"""What the labels say about pairs of fields: without a model, and on held-out rows.

Start with `ranking.observed_interactions`, which ranks the pairs. It fits main effects (`main_effects`), scores each
pair (`score_test`), scores the pairs beside each other (`joint`), and turns likelihoods into expected
strengths (`posterior`). `cross_fit` checks the pairs on held-out rows. docs/interactions.md explains the method.
"""
