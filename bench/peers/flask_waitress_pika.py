"""POST /produce as a small Flask service has it: waitress, and a blocking pika channel with confirmations.

    python flask_waitress_pika.py AMQP_URL QUEUE PORT [per-thread]

pika's connections are not safe for threads: all threads share one channel behind a lock, as in the services that this
example replaces. With `per-thread`, each of 8 threads has a connection of its own, instead.
"""

import json
import logging
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

import pika
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from pika.adapters.blocking_connection import BlockingChannel
from waitress import serve

URL, QUEUE, PORT, *PER_THREAD = sys.argv[1:]
THREADS = 8 if PER_THREAD else 4
app = Flask(__name__)
local = threading.local()


def new_channel() -> BlockingChannel:
    """A channel on a new connection."""
    channel = pika.BlockingConnection(pika.URLParameters(URL)).channel()
    channel.queue_declare(QUEUE, durable=True)
    channel.confirm_delivery()
    return channel


shared = new_channel()
lock: AbstractContextManager[object] = nullcontext() if PER_THREAD else threading.Lock()


def channel_of_thread() -> BlockingChannel:
    """The channel that this thread may use."""
    if not PER_THREAD:
        return shared
    if not hasattr(local, "channel"):
        local.channel = new_channel()
    return local.channel


@app.post("/produce")
def produce() -> ResponseReturnValue:
    """Publish a message, and answer once it is confirmed."""
    message = request.get_json()
    if not isinstance(message, dict) or "id" not in message or "payload" not in message:
        return jsonify(status="error", error="id and payload are required"), 400
    properties = pika.BasicProperties(
        content_type="application/json", delivery_mode=pika.DeliveryMode.Persistent, message_id=message["id"]
    )
    with lock:
        channel_of_thread().basic_publish("", QUEUE, json.dumps(message).encode(), properties, mandatory=True)
    return jsonify(status="success", message_id=message["id"], timestamp=datetime.now(UTC).isoformat())


logging.getLogger("waitress.queue").setLevel(logging.ERROR)
serve(app, host="127.0.0.1", port=int(PORT), threads=THREADS)
