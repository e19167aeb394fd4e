"""Throwaway servers, faults and test frameworks for services that use Sillar."""
