"""Serves the app on $PORT: `command` is started as it stands, so the variable is read here."""

import os

import uvicorn

if __name__ == "__main__":
    uvicorn.run("app:app", host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False)
