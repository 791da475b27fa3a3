"""Give a WSGI server the application: pages and API; the live page posts single frames."""

from app import create_app

app = create_app()
