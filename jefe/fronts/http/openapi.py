"""The description of the HTTP server for programs (OpenAPI 3.1), made from the table of routes."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from jefe import __version__
from jefe.fronts.http import modules
from jefe.fronts.http.routes import NAME, Route
from jefe.fronts.http.shapes import Problem
from jefe.fronts.http.wire import PHRASES

_ANYWHERE: Final = (400, 421, 403)
"""The statuses with which any request for a route can fail."""

_REFERENCE: Final = "#/components/schemas/{name}"


def document_of(routes: Iterable[Route]) -> bytes:
    """The description, as JSON."""
    routes = list(routes)
    shapes = {shape for route in routes for shape in (route.body, route.query, route.answer) if shape}
    kinds = [*sorted(shapes, key=lambda shape: getattr(shape, "__name__", "")), Problem]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    by_shape = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(route, by_shape, components)
        path = paths.setdefault(route.path, {})
        path[route.method.lower()] = operation
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Jefe",
            "version": __version__,
            "description": "Run code that nobody trusts. Docs: docs/reference/http.md.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "JEFE_HTTP_TOKEN, if that is set.",
                }
            },
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _operation(route: Route, schemas: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "responses": _responses(route, schemas),
        "security": [{}] if route.is_public else [{"token": []}, {}],
    }
    parameters = []
    if NAME in route.path:
        parameters.append(
            {
                "name": "name",
                "in": "path",
                "required": True,
                "description": "The name of the script, in percent-encoding.",
                "schema": {"type": "string", "minLength": 1},
            }
        )
    if route.query is not None:
        properties = components[route.query.__name__]["properties"]
        parameters += [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in properties.items()
        ]
    parameters += [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        for name in route.conditions
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        needed = msgspec.json.schema_components([route.body])[1][route.body.__name__].get("required")
        operation["requestBody"] = {
            "required": bool(needed),
            "content": {"application/json": {"schema": schemas[route.body]}},
        }
        if route.raw is not None:
            binary = {"schema": {"type": "string", "contentMediaType": modules.MEDIA_TYPE}}
            operation["requestBody"]["content"][modules.MEDIA_TYPE] = binary
    return operation


def _responses(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    told = {"type": "object"} if route.answer is None else schemas[route.answer]
    kind = "text/plain" if route.answer is str else "application/json"
    responses: dict[str, Any] = {}
    for status in route.successes:
        responses[str(status)] = {
            "description": PHRASES[status],
            "content": {kind: {"schema": told}},
        }
        if route.conditions and route.method != "DELETE":
            version = {"description": "The version of the script.", "schema": {"type": "string"}}
            responses[str(status)]["headers"] = {"ETag": version}
    if "If-None-Match" in route.conditions and route.method == "GET":
        responses["304"] = {"description": PHRASES[304]}
    failures = set(route.failures)
    if not route.is_public:
        failures |= {*_ANYWHERE, 401, 503}
    if route.body is not None:
        failures |= {400, 408, 413, 415, 422}
    problem = {"application/problem+json": {"schema": schemas[Problem]}}
    if route.is_plain:
        problem["text/plain"] = {"schema": {"type": "string"}}
    for status in sorted(failures):
        responses[str(status)] = {"description": PHRASES[status], "content": problem}
    responses["default"] = {"description": "Any other failure.", "content": problem}
    return responses
