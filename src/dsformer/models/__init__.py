"""Models of Hugging Face: reading any source, the plug-in that loads artefacts, and saving them."""
