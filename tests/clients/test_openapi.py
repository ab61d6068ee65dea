"""The published contract is one that other tools can read."""

from openapi_spec_validator import OpenAPIV31SpecValidator

from conftest import request


def test_the_document_is_valid_openapi(dev):
    document = request("GET", dev.url + "/openapi.json").json
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_what_the_document_says_of_bodies_is_so(dev):
    schemas = request("GET", dev.url + "/openapi.json").json["components"]["schemas"]
    mint = schemas["MintRequest"]
    assert mint["required"] == ["channel"]
    assert mint["additionalProperties"] is False
    for name, schema in mint["properties"].items():
        assert "null" not in str(schema), f"{name}: null is refused"
    minted = dev.mint(viewerId="alice", singleUse=True)
    described = schemas["MintResponse"]
    assert set(minted) <= set(described["properties"])
    assert set(described["required"]) <= set(minted)
    finding = schemas["InspectFinding"]["properties"]
    assert set(finding) == {"code", "severity", "detail", "claim"}
