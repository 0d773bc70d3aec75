from fastapi import FastAPI, Request
from pydantic import BaseModel

app = FastAPI()


class Sum(BaseModel):
    a: int
    b: int


@app.get("/")
async def hello(request: Request):
    return {"message": "hello from fastapi", "query": dict(request.query_params)}


@app.get("/healthz")
async def healthz():
    return {"ok": True}


@app.post("/sum")
async def add(numbers: Sum):
    """A body of another shape is answered 422 by FastAPI."""
    return {"sum": numbers.a + numbers.b}
