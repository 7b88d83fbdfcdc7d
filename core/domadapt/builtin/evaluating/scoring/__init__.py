"""Log-likelihoods of many continuations under many models: lm-eval's numbers in a fraction of its time.

lm-eval sends the context of a question once for each choice, computes a row of logits for every token and does both
again for every model. Here requests are tokenised once for all models that share a tokenizer (`requests`), the
choices of a question become branches of one row (`trees`), what many questions begin with is computed once (`plan`),
and only positions that are scored are projected onto the vocabulary (`engine`). `lm` is the same behind lm-eval's
interface, `tasks` runs lm-eval's task objects with it.
"""
