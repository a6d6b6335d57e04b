"""A text to run through a model."""

Text = str | tuple[str, str]
"""What a tokenizer makes one example of: a text, or two (a pair of sentences, a question and its context)."""
