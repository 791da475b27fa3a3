"""The JSON API, the live WebSocket and what both take."""
