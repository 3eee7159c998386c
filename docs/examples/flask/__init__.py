"""The example with Flask: ``flask --app docs/examples/flask/app.py run``."""
