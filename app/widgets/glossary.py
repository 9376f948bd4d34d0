"""The terms of the interface, each said once: for the glossary on Learn, and for hover texts elsewhere."""

from __future__ import annotations

GLOSSARY = {
    "AUC": "How often a positive row gets a higher score than a negative one. 0.5 is guessing, 1 is perfect.",
    "baseline": "Gradient boosting on the same rows, to compare the models with.",
    "bias": "The constant of the logit: what a row has before its features count.",
    "calibration": "Whether rows with a probability of 20% are positive in 20% of cases.",
    "cell": "Two features that stand in one row; in a guided model, also the weight that the two have together.",
    "clear above noise": "A table without this interaction would hardly ever look like this one: the false discovery "
    "rate is at most 5%.",
    "DNN": "The deep neural network: hidden layers that read all embeddings of a row, and one output.",
    "dropout": "The share of hidden units that each training step leaves out. The paper states the share kept.",
    "embedding": "K numbers that the model learns for each feature.",
    "epoch": "One pass of the training over all training rows.",
    "false discovery rate": "Of the pairs that are called clear, the share that is expected to be noise.",
    "feature": "One value of a field, such as `device = phone`.",
    "field": "A column that the model reads.",
    "first order": "The sum of the weights of a row's features: what each does alone.",
    "FM": "The factorization machine: bias, first order, and the products of all pairs of embeddings.",
    "FM logit": "Bias + first order + FM pairs.",
    "FM pairs": "The second-order part of the FM alone: the sum of ⟨v_i, v_j⟩ over all pairs of features of a row.",
    "guide": "Main effects and pairs that the labels of the training rows support, solved before the first epoch.",
    "held-out rows": "Rows that the model was not trained on: the validation and the test part.",
    "inner product": "The sum of the products of two embeddings, number by number: ⟨a, b⟩ = Σ a_k b_k.",
    "interaction": "What two fields do together beyond what each does alone.",
    "knock-out": "How much worse the logloss on held-out rows gets if a pair's part is taken out of the logit.",
    "label": "The column to predict. One of its two values is called positive.",
    "log-odds": "The logarithm of p ÷ (1 − p). 0 is 50%; +1 multiplies the odds by 2.7.",
    "logit": "The sum that the model computes for a row, in log-odds. The probability is its sigmoid.",
    "logloss": "The mean surprise at the labels, −log of the probability given to what happened. Lower is better.",
    "main effect": "What a field does alone, on average over all other fields.",
    "nats": "The unit of logloss: surprise by natural logarithms. 1 nat is 1.44 bits.",
    "purified": "With the main effects taken out of the pairs, and the pairs out of what is higher, so that nothing is "
    "counted twice.",
    "strength": "The standard deviation over rows of what a pair adds to the logit, in log-odds.",
}
"""By term, in the order of the alphabet."""


def meaning(term: str) -> str:
    """Say what a term means, for the `help` of a heading or a figure."""
    return f"**{term[0].upper()}{term[1:]}.** {GLOSSARY[term]}"
