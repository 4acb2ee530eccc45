"""POST /produce as a small Flask service has it: waitress, and a blocking pika channel with confirmations.

    python flask_waitress_pika.py AMQP_URL QUEUE PORT

pika's connections are not safe for threads, so each thread has its own.
"""

import json
import sys
import threading
from datetime import UTC, datetime

import pika
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from pika.adapters.blocking_connection import BlockingChannel
from waitress import serve

URL, QUEUE, PORT = sys.argv[1:]
THREADS = 8
app = Flask(__name__)
local = threading.local()


def channel() -> BlockingChannel:
    """The channel of this thread."""
    if not hasattr(local, "channel"):
        local.channel = pika.BlockingConnection(pika.URLParameters(URL)).channel()
        local.channel.queue_declare(QUEUE, durable=True)
        local.channel.confirm_delivery()
    return local.channel


@app.post("/produce")  # type: ignore[untyped-decorator]
def produce() -> ResponseReturnValue:
    """Publish a message, and answer once it is confirmed."""
    message = request.get_json()
    if not isinstance(message, dict) or "id" not in message or "payload" not in message:
        return jsonify(status="error", error="id and payload are required"), 400
    properties = pika.BasicProperties(
        content_type="application/json", delivery_mode=pika.DeliveryMode.Persistent, message_id=message["id"]
    )
    channel().basic_publish("", QUEUE, json.dumps(message).encode(), properties, mandatory=True)
    return jsonify(status="success", message_id=message["id"], timestamp=datetime.now(UTC).isoformat())


serve(app, host="127.0.0.1", port=int(PORT), threads=THREADS)
