"""What knows nothing of compression: files, locks, processes, threads, progress."""
