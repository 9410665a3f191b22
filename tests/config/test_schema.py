"""Tests for the tables of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.config.reference import SECTIONS
from wsrelay.config.schema import (
    Plugin,
    Route,
    jsonSchema,
)


class TableTests(SynchronousTestCase):
    """What all tables have in common, and the small ones."""

    def test_frozen(self) -> None:
        """What was read cannot change."""
        with self.assertRaises(ValidationError):
            Route().name = "x"

    def test_strict(self) -> None:
        """Unknown keys are errors in every table but a plugin's."""
        for _, _, schema in SECTIONS:
            required = {
                key: field.examples[0]
                for key, field in schema.model_fields.items()
                if field.is_required() and field.examples
            }
            schema.model_validate(required)
            if schema is not Plugin:
                with self.assertRaises(ValidationError, msg=str(schema)):
                    schema.model_validate({**required, "unknown": 1})

    def test_described(self) -> None:
        """Every key has a description, and examples that are right."""
        for _, _, schema in SECTIONS:
            for key, field in schema.model_fields.items():
                self.assertTrue(field.description, key)
                self.assertTrue(field.examples, key)
                for example in field.examples or ():
                    self.assertTakes(schema, key, example)

    def assertTakes(self, schema: type[BaseModel], key: str, value: object) -> None:
        """The table takes this value."""
        try:
            schema.model_validate({key: value})
        except ValidationError as error:
            wrong = [e for e in error.errors() if e["loc"][:1] == (key,)]
            self.assertEqual(wrong, [], f"{key} = {value!r}")

    def test_pluginOptions(self) -> None:
        """All keys of a plugin but C{use} are its own, whatever they are called."""
        options = {"words": ["a"], "options": 1, "model": {"x": 2}}
        plugin = Plugin.model_validate({"use": "redact", **options})
        self.assertEqual((plugin.use, plugin.options), ("redact", options))


class JsonSchemaTests(SynchronousTestCase):
    """The schema for editors."""

    def test_knowsEveryKey(self) -> None:
        """It has every key of every table, described, and allows no other."""
        schema = jsonSchema()
        self.assertEqual(
            set(schema["properties"]), {"relay", "listener", "route", "pool", "cache", "plugin"}
        )
        for _, _, table in SECTIONS:
            entry = schema["$defs"][table.__name__]
            self.assertEqual(set(entry["properties"]), set(table.model_fields))
            self.assertEqual(entry["additionalProperties"], table is Plugin)
            for key, value in entry["properties"].items():
                self.assertIn("description", value, key)
