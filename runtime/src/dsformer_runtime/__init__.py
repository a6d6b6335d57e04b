"""Text encoders on CPUs without PyTorch, from a Hugging Face directory, plain or compressed by DSFormer."""
