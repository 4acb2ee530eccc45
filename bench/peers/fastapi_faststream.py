"""POST /produce with FastAPI, uvicorn (uvloop, httptools) and FastStream, with confirmations.

python fastapi_faststream.py AMQP_URL QUEUE PORT
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi import FastAPI
from faststream.rabbit import RabbitBroker, RabbitQueue
from pydantic import BaseModel, Field

URL, QUEUE, PORT = sys.argv[1:]
broker = RabbitBroker(URL)


class Message(BaseModel):
    """The body of a request."""

    id: str = Field(min_length=1, max_length=255)
    payload: Any
    processing_time: float = Field(default=0, ge=0)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Connect, and declare the queue."""
    await broker.start()
    await broker.declare_queue(RabbitQueue(QUEUE, durable=True))
    yield
    await broker.stop()


app = FastAPI(lifespan=lifespan)


@app.post("/produce")  # type: ignore[untyped-decorator]
async def produce(message: Message) -> dict[str, str]:
    """Publish a message, and answer once it is confirmed."""
    await broker.publish(
        message.model_dump_json(exclude_defaults=True).encode(),
        QUEUE,
        persist=True,
        mandatory=True,
        message_id=message.id,
        content_type="application/json",
    )
    return {"status": "success", "message_id": message.id, "timestamp": datetime.now(UTC).isoformat()}


uvicorn.run(app, host="127.0.0.1", port=int(PORT), log_level="warning", access_log=False)
