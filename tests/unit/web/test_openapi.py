from atdsr.web.api import VIEWS, Api
from atdsr.web.config import WebConfig
from atdsr.web.metrics import Metrics
from atdsr.web.openapi import document
from atdsr.web.options import PARAMETERS
from atdsr.web.problems import STATUSES
from atdsr.web.service import Service


def test_every_route_is_in_it(tmp_path):
    config = WebConfig()
    api = Api(Service(config, tmp_path, Metrics()), dict)
    routes = {
        (route.path, method.lower())
        for route in api.routes()
        for method in set(route.methods or ()) - {"HEAD"}
    }
    described = document(config)["paths"]
    assert routes == {(path, method) for path, methods in described.items() for method in methods}


def test_the_parameters_are_those_of_the_table():
    described = document(WebConfig())["paths"]["/v1/upscale"]["post"]
    names = [item["name"] for item in described["parameters"] if item["in"] == "query"]
    assert names == list(PARAMETERS)
    codes = {int(code) for code in described["responses"]}
    assert codes >= {200, 202, 400, 401, 408, 413, 415, 422, 429, 503}
    assert codes - {200, 202} <= set(STATUSES)


def test_operations_have_names_and_links_lead_to_them():
    paths = document(WebConfig())["paths"]
    names = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(set(names)) == len(names)
    links = paths["/v1/upscale"]["post"]["responses"]["202"]["links"]
    assert set(links) == {name for name in names if "_jobs_job" in name}


def test_a_token_is_asked_for_only_where_there_is_one():
    assert document(WebConfig())["security"] == []
    assert document(WebConfig(token="0123456789abcdef"))["security"] == [{"token": []}]


def test_the_examples_are_values():
    for name, parameter in PARAMETERS.items():
        if parameter.example is not None:
            assert parameter.parse(str(parameter.example)) is not None, name
    assert "bicubic" in VIEWS
