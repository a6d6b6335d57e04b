"""What a compressed weight is, in memory and on disk: its spec, its tensors, their bits and bytes."""
