"""Give gunicorn the application with its live streams."""

from app import create_asgi_app

app = create_asgi_app()
