"""The texts of the pages and the reader's language."""
