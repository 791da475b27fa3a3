"""The addresses of the pages, an example of each page that has several."""

PAGES = [
    *("/", "/realtime", "/video", "/steps", "/teach", "/models", "/about"),
    *("/models/expression", "/models/gender", "/models/clothing", "/models/studies/clothing-grid"),
]
