"""Drive the pages in a real browser."""
