"""The example with FastAPI: run ``examples.fastapi.app:create_app`` with ``uvicorn --factory``."""
