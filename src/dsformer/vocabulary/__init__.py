"""A vocabulary of the tokens a corpus has: the tokenizer rewritten, the model's rows selected."""
