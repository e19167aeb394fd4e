"""A package of documents, for finding them."""
