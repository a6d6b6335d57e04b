"""Modules of compressed weights: linear layers, embedding tables, and putting them into a model."""
