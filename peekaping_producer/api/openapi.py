"""The OpenAPI document of the API."""

from importlib.metadata import version
from typing import Any

import msgspec

from peekaping_producer.api.answers import BatchProduced, Failure, Produced, State
from peekaping_producer.api.requests import Batch, DatetimeMessage, MessageToProduce, StoredMessage

Json = dict[str, Any]

_REFUSALS = {
    400: "The body is not JSON.",
    401: "The token is missing or wrong.",
    408: "The body did not arrive in time.",
    413: "The body, or the batch, is too large.",
    415: "The body is not declared as application/json, or is compressed.",
    422: "A field is missing, unknown or invalid; `error` begins with its path.",
}
_RETRY = {
    429: "Too many requests from this address.",
    503: "The broker is not available, or has too much to do. Repeat the request with the same ids.",
}
_TEXT = {"schema": {"type": "string"}}


def document() -> Json:
    """The document, of OpenAPI 3.1."""
    types = (MessageToProduce, Batch, DatetimeMessage, StoredMessage, Produced, BatchProduced, State, Failure)
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "peekaping-producer",
            "version": version("peekaping-producer"),
            "description": "Produces messages; answers once the broker has confirmed them.",
        },
        "paths": {
            "/produce": {"post": _post("Produce a message.", MessageToProduce, 200, Produced)},
            "/batch-produce": {"post": _post("Produce several messages: all or none.", Batch, 200, BatchProduced)},
            "/api/messages": {"post": _post("Produce a date.", DatetimeMessage, 201, StoredMessage)},
            "/health": {
                "get": {
                    "summary": "Whether messages can be produced now.",
                    "responses": {
                        "200": _response("They can.", State),
                        "503": _response("The broker is not available.", State),
                    },
                }
            },
            "/metrics": {
                "get": {
                    "summary": "Metrics in the text format of Prometheus.",
                    "responses": {"200": {"description": "The metrics.", "content": {"text/plain": _TEXT}}},
                }
            },
            "/openapi.json": {
                "get": {
                    "summary": "This document.",
                    "responses": {
                        "200": {
                            "description": "The document.",
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        }
                    },
                }
            },
        },
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _post(summary: str, request: type[msgspec.Struct], status: int, response: type[msgspec.Struct]) -> Json:
    return {
        "summary": summary,
        "security": [{}, {"token": []}],
        "requestBody": {"required": True, "content": _content(request)},
        "responses": {
            str(status): _response("The broker has confirmed all of it.", response),
            **{str(code): _response(text, Failure) for code, text in _REFUSALS.items()},
            **{str(code): _response(text, Failure) | {"headers": _RETRY_AFTER} for code, text in _RETRY.items()},
        },
    }


_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def _response(text: str, body: type[msgspec.Struct]) -> Json:
    return {"description": text, "content": _content(body)}


def _content(body: type[msgspec.Struct]) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}
