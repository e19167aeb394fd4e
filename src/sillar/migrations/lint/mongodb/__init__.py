"""The rules of document databases."""
