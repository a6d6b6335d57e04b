"""What a compression did: exact bytes, errors, and how they are shown."""
