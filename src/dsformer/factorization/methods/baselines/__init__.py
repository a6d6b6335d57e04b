"""Methods of the literature that dense x sparse is compared with."""
