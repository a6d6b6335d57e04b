"""The native library: loading it, and the objects of its C interface (``csrc/include``)."""
