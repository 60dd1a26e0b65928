"""The description for programs is true: whatever is asked is answered as it says, and never with 500."""

import json
from contextlib import asynccontextmanager
from functools import cache
from urllib.parse import quote, urlencode

import jsonschema
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from jefe.fronts.http.shared import DOCUMENT
from jefe.fronts.http.wire import PHRASES
from tests.jefe.conftest import Family, captured
from tests.jefe.fronts.http.serving import own_of, request, serve, settings_of

TOKEN = "hush"
API = json.loads(DOCUMENT)
OPERATIONS = [
    (method, path, operation) for path, each in API["paths"].items() for method, operation in each.items()
]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CONDITIONS = st.sampled_from(["*", "a", '"a"', '"a", "b"'])
SCRIPTS = ["echo", "throw", "bad one", "bomb", "heavy one"]
NAMES = st.sampled_from(["a", "b", "ü/b", "."])


def values(schema):
    """What a schema lets be said, for as much of JSON Schema as the document uses."""
    match schema:
        case {"$ref": reference}:
            return values(API["components"]["schemas"][reference.rpartition("/")[2]])
        case {"anyOf": those}:
            return st.one_of([values(each) for each in those])
        case {"enum": those}:
            return st.sampled_from(those)
        case {"type": "object", "properties": properties}:
            needed = schema.get("required", [])
            strategies = {name: values(each) for name, each in properties.items()}
            return st.fixed_dictionaries({name: strategies.pop(name) for name in needed}, optional=strategies)
        case {"type": "object"}:
            return st.dictionaries(st.text(max_size=5), ANY_JSON, max_size=3)
        case {"type": "array", "prefixItems": items}:
            return st.tuples(*map(values, items)).map(list)
        case {"type": "array"}:
            return st.lists(values(schema["items"]) if schema.get("items") else ANY_JSON, max_size=3)
        case {"type": "string"}:
            return st.text(min_size=schema.get("minLength", 0), max_size=12) | st.sampled_from(SCRIPTS)
        case {"type": "integer" | "number" as kind}:
            low, high = schema.get("minimum", -5), schema.get("maximum", 10**6)
            return st.integers(low, high) | (st.just(0) if kind == "integer" else st.floats(0, 10))
        case {"type": "null"}:
            return st.none()
    raise AssertionError(schema)


def strict(schema):
    """The same, but nothing that it does not name is allowed: what is answered is to be described."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = (
        {"additionalProperties": False} if schema.get("type") == "object" and "properties" in schema else {}
    )
    return {**closed, **{name: strict(each) for name, each in schema.items()}}


COMPONENTS = strict(API["components"])


def whole(schema):
    """A schema with the ones that it refers to."""
    return {**schema, "components": COMPONENTS}


@cache
def bodies(operation_id):
    """What an operation takes, and things like it."""
    operation = next(each for _, _, each in OPERATIONS if each["operationId"] == operation_id)
    content = operation.get("requestBody")
    if content is None:
        return st.none()
    right = values(content["content"]["application/json"]["schema"]).map(json.dumps)
    return right | ANY_JSON.map(json.dumps) | st.text(max_size=10) | right.map(lambda text: text[:-1])


@st.composite
def requests(draw):
    """An operation, and the bytes of a request for it."""
    method, path, operation = draw(st.sampled_from(OPERATIONS))
    path = path.replace("{name}", quote(draw(NAMES), safe=""))
    fields, query = [], {}
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" or draw(st.booleans()):
            continue
        if parameter["in"] == "header":
            fields.append(f"{parameter['name']}: {draw(CONDITIONS)}")
        else:
            value = draw(values(parameter["schema"]) | st.text(max_size=5))
            query[parameter["name"]] = str(value).encode("utf-8", "replace").decode()
    if query:
        path += "?" + urlencode(query)
    body = draw(bodies(operation["operationId"]))
    if draw(st.integers(0, 9)):
        fields.append(f"Authorization: Bearer {TOKEN}")
    data = None if body is None else body.encode("utf-8", "surrogatepass")
    return operation, request(method.upper(), path, data, *fields)


@asynccontextmanager
async def serving(token):
    with captured():
        async with trio.open_nursery() as nursery:
            family = Family(nursery)
            yield await nursery.start(serve, family.spawn, settings_of({}), own_of({}), token)
            nursery.cancel_scope.cancel()


@settings(max_examples=60, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=12))
def test_every_answer_is_one_of_those_that_are_described(asked):
    async def main():
        async with serving(TOKEN) as connect:
            client = connect()
            for operation, data in asked:
                answer = await client.ask(data)
                if answer is None:  # a health route was the last one
                    client = connect()
                    answer = await client.ask(data)
                assert answer.status != 500
                described = operation["responses"].get(str(answer.status))
                assert described is not None, (data, answer)
                content = described.get("content")
                if content is None:
                    assert answer.body == b""
                else:
                    kind, _, _ = answer.headers["content-type"].partition(";")
                    schema = content[kind]["schema"]
                    told = answer.json if kind != "text/plain" else answer.body.decode()
                    jsonschema.Draft202012Validator(whole(schema)).validate(told)
                if "close" in answer.headers.get("connection", ""):
                    client = connect()

    trio.run(main)


def test_it_is_a_document_of_that_version():
    assert API["openapi"] == "3.1.0"
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    for schema in API["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for _, _, operation in OPERATIONS:
        assert {int(status) for status in operation["responses"] if status != "default"} <= PHRASES.keys()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_wants_no_token(path):
    assert API["paths"][path]["get"]["security"] == [{}]
