"""The type of a text to run through a model."""

Text = str | tuple[str, str]
"""Input of a tokenizer for one example: a text, or two (a pair of sentences, a question and its context)."""
