"""Throwaway real servers for tests, without containers."""
