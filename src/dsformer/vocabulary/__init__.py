"""A vocabulary of the tokens a corpus has: the tokenizer rewritten, the model's rows selected."""

from dsformer.vocabulary.prune import prune_vocabulary as prune_vocabulary
