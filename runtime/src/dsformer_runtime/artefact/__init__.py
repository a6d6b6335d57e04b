"""Reading of a model directory: its JSON files, its tensors, and the compressed blocks of an artefact."""
