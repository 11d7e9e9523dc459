"""JSON Schemas of states, detections and calibrations, made from the types and domains that the code checks.

They lie in ``docs/schemas/``; ``python -m argprod.schemas --write`` makes them anew, a test compares.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec

from replay.calibration.file import Calibration
from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, TIME_DOMAIN, Domain
from scheduler.finding import Detection
from scheduler.state import REQUIRED_COLUMNS
from scheduler.traffic import TRAFFIC_DOMAINS, TRAFFIC_FLAGS

#: Where they lie in a checkout.
FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by the name of its file.

    Example:
        >>> sorted(schemas())
        ['calibration.schema.json', 'detection.schema.json', 'state.schema.json']
    """
    return {
        "calibration.schema.json": calibration_schema(),
        "detection.schema.json": detection_schema(),
        "state.schema.json": state_schema(),
    }


def calibration_schema() -> dict[str, Any]:
    """Of what ``argprod calibrate`` writes, from the types."""
    return msgspec.json.schema(Calibration)


def detection_schema() -> dict[str, Any]:
    """Of what ``argprod detect --json`` writes, from the types."""
    return msgspec.json.schema(Detection)


def state_schema() -> dict[str, Any]:
    """Of one state, from the domains."""
    return _object(
        {
            "now_s": _number(TIME_DOMAIN),
            "policy": {"type": ["string", "null"], "description": "NAME[:knob=value,...]"},
            "request": _object(
                {
                    **{
                        name: _number(domain, optional=name != "prompt_tokens")
                        for name, domain in REQUEST_DOMAINS.items()
                    },
                    "class": {"type": ["string", "null"], "description": "prefix class of the request"},
                },
                required=["prompt_tokens"],
            ),
            "instances": {"type": "array", "minItems": 1, "items": _instance()},
            "traffic": {"type": "array", "items": _traffic()},
        },
        required=["request", "instances"],
    )


def _instance() -> dict[str, Any]:
    numbers = {
        name: _number(domain, optional=name not in REQUIRED_COLUMNS) for name, domain in INSTANCE_DOMAINS.items()
    }
    return _object({"id": {"type": "string"}, **numbers}, required=["id", *REQUIRED_COLUMNS])


def _traffic() -> dict[str, Any]:
    numbers = {name: _number(domain, optional=name != "share") for name, domain in TRAFFIC_DOMAINS.items()}
    holders = {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "description": "ids of instances"}
    flags = {name: {"type": ["boolean", "null"]} for name in TRAFFIC_FLAGS}
    fields = {"class": {"type": "string"}, **numbers, "holders": holders, **flags}
    return _object(fields, required=["class", "share"])


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _number(domain: Domain, *, optional: bool = False) -> dict[str, Any]:
    kind = "integer" if domain.integer else "number"
    schema: dict[str, Any] = {"type": [kind, "null"] if optional else kind, "description": f"[{domain.unit}]"}
    schema["exclusiveMinimum" if domain.low_open else "minimum"] = domain.low
    if domain.high is not None:
        schema["maximum"] = domain.high
    return schema


def as_json(schema: dict[str, Any]) -> str:
    """A schema as its file has it."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def main() -> None:
    """Write the files, with ``--write``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the files")
    if parser.parse_args().write:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, schema in schemas().items():
            (FOLDER / name).write_text(as_json(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
