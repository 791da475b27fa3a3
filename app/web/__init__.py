"""Answer over HTTP: one blueprint for each concern."""
