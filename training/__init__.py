"""Build, measure and document the models that the app serves. Nothing in `app` imports this."""
