"""Programs that load a model, embed one sentence and end, as short as they can be written for each engine.

They are run in processes of their own by ``startup``, never imported: an engine other than PyTorch gets no torch.
"""
