"""The rules for document databases."""

from __future__ import annotations

from sillar.migrations.lint.finding import Hazard, Rule, Severity

_WARNING = Severity.WARNING

DOCUMENT_RULES = (
    Rule(
        "index-on-large-collection",
        Hazard.SIZE,
        "building it reads the whole collection on every member and takes memory and disk from the service",
        "build it in a quiet hour, in a migration of its own",
        _WARNING,
    ),
    Rule(
        "unique-index-on-existing-data",
        Hazard.SIZE,
        "the build fails if two documents are alike, and writes that would be alike fail from then on",
        "find and resolve duplicates in a migration before it, then build it (recipe: unique-index)",
    ),
    Rule(
        "ttl-index-deletes",
        Hazard.FAILURE,
        "documents that are older are deleted within a minute, all at once",
        "delete them in batches first, then create the index",
    ),
    Rule(
        "validator-strict",
        Hazard.CODE,
        "updates of documents that do not fit fail from now on",
        "action='warn' or level='moderate' first; strict once the documents are transformed (recipe: validator)",
    ),
    Rule(
        "unbounded-transform",
        Hazard.SIZE,
        "all documents of the collection are written; a command does so in one go, without a place to resume at",
        "op.transform, with a filter for what is not transformed yet and a batch size",
    ),
    Rule(
        "drop-collection",
        Hazard.CODE,
        "running code still uses the collection",
        "rename it away in one release and drop it in a later one",
    ),
    Rule(
        "rename-collection",
        Hazard.CODE,
        "running code still uses the old name, and silently creates it anew when it writes",
        "copy in batches, write to both, move the code over, drop the old one",
    ),
    Rule(
        "drop-field",
        Hazard.CODE,
        "running code still reads the field",
        "deploy code that does not know it first, then unset it in batches (recipe: drop-field)",
    ),
    Rule(
        "rename-field",
        Hazard.CODE,
        "running code still uses the old name",
        "write both fields, copy in batches, move the code over, unset the old one later (recipe: rename-field)",
    ),
    Rule(
        "field-type-changed",
        Hazard.CODE,
        "running code still reads and writes the other type, and an index or a query of one type finds no other",
        "deploy code that reads both first, then convert what is not of the type yet in batches (recipe: field-type)",
    ),
    Rule(
        "drop-document-index",
        Hazard.CODE,
        "queries that use the index read the whole collection from then on",
        "hide it first (collMod index.hidden), watch, then drop it",
        _WARNING,
    ),
    Rule(
        "collection-converted",
        Hazard.SIZE,
        "converting or compacting takes the collection's exclusive lock until it is done",
        "copy in batches to a new collection and switch",
    ),
)
