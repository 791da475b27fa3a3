"""Analyze folders, archives and lists of URLs into tables."""
