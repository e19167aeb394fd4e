"""Every rule, with the reason and the remedy. What the rules say of one dialect stands with that dialect's checks."""

from __future__ import annotations

from sillar.migrations.lint.finding import Hazard, Rule, Rules, Severity
from sillar.migrations.lint.mongodb.catalogue import DOCUMENT_RULES

_WARNING = Severity.WARNING

RULES = Rules(
    *DOCUMENT_RULES,
    # --- the table is written anew, or scanned, under a lock ---------------------------------------------------------
    Rule(
        "type-change-rewrites",
        Hazard.SIZE,
        "the whole table is written anew, and all who write it (PostgreSQL: read it, too) wait",
        "add a column of the new type, fill it in batches, then switch (recipe: column-type)",
    ),
    Rule(
        "type-change-rebuilds-indexes",
        Hazard.SIZE,
        "the indexes of the column are built anew under a lock that nobody gets past",
        "drop those indexes concurrently before and build them concurrently after, or take the way over a new column",
        _WARNING,
    ),
    Rule(
        "set-not-null-scans",
        Hazard.SIZE,
        "the whole table is read under a lock that nobody gets past",
        "add CHECK (… IS NOT NULL) NOT VALID, validate it, SET NOT NULL, which then reads nothing (recipe: not-null)",
    ),
    Rule(
        "volatile-default",
        Hazard.SIZE,
        "a default that differs from row to row writes the whole table anew",
        "add the column without it, set the default, fill the old rows in batches (recipe: volatile-default)",
    ),
    Rule(
        "default-rewrites",
        Hazard.SIZE,
        "this version of the server writes every row anew for a column with a default",
        "add the column without a default, set the default, fill the old rows in batches (recipe: volatile-default)",
    ),
    Rule(
        "identity-column-rewrites",
        Hazard.SIZE,
        "every row gets its number: the whole table is written anew, and all who use it wait",
        "add a plain column, a sequence as its default, and fill the old rows in batches (recipe: volatile-default)",
    ),
    Rule(
        "generated-column-rewrites",
        Hazard.SIZE,
        "a stored generated column is computed for every row: the whole table is written anew",
        "add a plain column kept by a trigger and fill it in batches, a virtual column, or an index on the expression",
    ),
    Rule(
        "domain-column-rewrites",
        Hazard.SIZE,
        "a column of a domain with conditions writes the whole table anew, with or without a default",
        "add the column with the type below the domain, and the domain's conditions as a CHECK … NOT VALID, validated",
    ),
    Rule(
        "table-rewritten",
        Hazard.SIZE,
        "the whole table is written anew, and nobody reads or writes it meanwhile",
        "do it outside of a migration with a tool that works online (pg_repack, gh-ost), or in a maintenance window",
    ),
    Rule(
        "table-rebuilt",
        Hazard.SIZE,
        "the server writes the whole table anew; rows are served meanwhile, with twice the space and a lag of replicas",
        "put all changes of the table into one ALTER, and run it in a quiet hour",
        _WARNING,
    ),
    Rule(
        "table-copied",
        Hazard.SIZE,
        "the server copies the whole table, and writes to it wait until that is done",
        "go over a new column or a new table filled in batches, or use gh-ost or pt-online-schema-change",
    ),
    Rule(
        "batch-copies-table",
        Hazard.SIZE,
        "batch mode copies the whole table, and all writers of the file wait until that is done",
        "prefer ADD COLUMN and RENAME COLUMN, which copy nothing; else run it while the service stands still",
    ),
    # --- indexes -----------------------------------------------------------------------------------------------------
    Rule(
        "index-blocks-writes",
        Hazard.SIZE,
        "writes to the table wait until the index is built",
        "build it with CONCURRENTLY outside of a transaction (recipe: index)",
    ),
    Rule(
        "drop-index-locks",
        Hazard.CODE,
        "the lock on the table waits for every transaction that reads it, and all others wait behind",
        "drop it with CONCURRENTLY outside of a transaction (recipe: drop-index)",
        _WARNING,
    ),
    Rule(
        "concurrently-in-transaction",
        Hazard.FAILURE,
        "CONCURRENTLY is refused inside of a transaction",
        "put it into `with op.get_context().autocommit_block():` (recipe: index)",
    ),
    Rule(
        "concurrently-on-partitioned-table",
        Hazard.FAILURE,
        "an index on a partitioned table cannot be built with CONCURRENTLY",
        "create it ON ONLY the parent, build it concurrently on each partition, and attach those",
    ),
    Rule(
        "reindex-blocks",
        Hazard.SIZE,
        "reads through the index and all writes wait until it is built anew",
        "REINDEX … CONCURRENTLY outside of a transaction",
    ),
    Rule(
        "refresh-blocks",
        Hazard.SIZE,
        "nobody reads the view until it is filled anew",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY (it takes a unique index)",
    ),
    Rule(
        "fulltext-index-blocks-writes",
        Hazard.SIZE,
        "writes to the table wait until a FULLTEXT or SPATIAL index is built",
        "build it on a copy that is filled in batches and swapped in, or in a quiet hour",
    ),
    # --- constraints -------------------------------------------------------------------------------------------------
    Rule(
        "foreign-key-without-not-valid",
        Hazard.SIZE,
        "all rows are checked while both tables are locked against writes",
        "add it NOT VALID and validate it in a transaction of its own (recipe: foreign-key)",
    ),
    Rule(
        "check-without-not-valid",
        Hazard.SIZE,
        "all rows are checked under a lock that nobody gets past",
        "add it NOT VALID and validate it in a transaction of its own (recipe: check)",
    ),
    Rule(
        "validate-in-same-transaction",
        Hazard.SIZE,
        "the lock of ADD … NOT VALID, or of other DDL before it, is held while all rows are checked",
        "validate in the next revision, or in an autocommit block (recipes: foreign-key, check)",
    ),
    Rule(
        "unique-without-index",
        Hazard.SIZE,
        "the index is built under a lock that nobody gets past",
        "build a unique index concurrently, then ADD CONSTRAINT … USING INDEX (recipe: unique)",
    ),
    Rule(
        "exclusion-constraint",
        Hazard.SIZE,
        "all rows are checked and indexed under a lock that nobody gets past, and there is no way around",
        "take the service down for it, or enforce it in a new table that is filled in batches",
    ),
    Rule(
        "foreign-key-copies-table",
        Hazard.SIZE,
        "with foreign_key_checks the server copies the whole table, and writes wait until that is done",
        "SET SESSION foreign_key_checks = 0 around ADD FOREIGN KEY, after a query for orphans (recipe: foreign-key)",
    ),
    Rule(
        "drop-primary-key",
        Hazard.SIZE,
        "without a primary key the server copies the whole table, and replicas search each changed row",
        "drop and add the primary key in one ALTER",
    ),
    Rule(
        "domain-constraint-scans",
        Hazard.SIZE,
        "every table with a column of the domain is read, and writes to it wait (with VALIDATE CONSTRAINT, too)",
        "put a CHECK on the columns instead, NOT VALID and then validated; on the domain itself leave it NOT VALID",
    ),
    Rule(
        "default-partition-scans",
        Hazard.SIZE,
        "all rows of the default partition are read under a lock that nobody gets past, unless a check excludes the"
        " new partition's",
        "add a CHECK to the default partition that excludes the new bounds NOT VALID, validate it, drop it afterwards",
    ),
    Rule(
        "attach-partition-scans",
        Hazard.SIZE,
        "all rows of the new partition are read under a lock, unless a check says that they belong there",
        "add a CHECK with the partition's bounds NOT VALID, validate it, attach, drop the check",
    ),
    Rule(
        "detach-partition-locks",
        Hazard.CODE,
        "the lock on the parent waits for everybody who reads it, and all others wait behind",
        "DETACH PARTITION … CONCURRENTLY outside of a transaction",
        _WARNING,
    ),
    # --- running code ------------------------------------------------------------------------------------------------
    Rule(
        "column-required",
        Hazard.CODE,
        "running code inserts rows without the new column, and existing rows have no value",
        "give it a default, or add it nullable, fill it and set NOT NULL later (recipe: not-null)",
    ),
    Rule(
        "drop-column",
        Hazard.CODE,
        "running code still reads or writes the column",
        "deploy code that does not know it first, then drop it in a later revision (recipe: drop-column)",
    ),
    Rule(
        "rename-column",
        Hazard.CODE,
        "running code still uses the old name",
        "add a column of the new name, keep both alike, move the code over, drop the old one (recipe: rename-column)",
    ),
    Rule(
        "drop-table",
        Hazard.CODE,
        "running code still uses the table",
        "rename it away in one release and drop it in a later one (recipe: drop-table)",
    ),
    Rule(
        "rename-table",
        Hazard.CODE,
        "running code still uses the old name",
        "leave a view of the old name in its place until no code uses it (recipe: rename-table)",
    ),
    Rule(
        "drop-view",
        Hazard.CODE,
        "running code still reads the view",
        "deploy code that does not read it first; CREATE OR REPLACE VIEW changes one in place",
    ),
    Rule(
        "drop-type",
        Hazard.CODE,
        "running code still names the type in casts and prepared statements",
        "deploy code that does not use it first",
    ),
    Rule(
        "drop-function",
        Hazard.CODE,
        "running code or a trigger still calls the function",
        "deploy code that does not call it first; CREATE OR REPLACE changes one in place",
    ),
    Rule(
        "drop-schema",
        Hazard.CODE,
        "everything in it is gone at once",
        "drop its tables one by one, after the code that uses them is gone",
    ),
    Rule(
        "drop-cascade",
        Hazard.FAILURE,
        "CASCADE drops views, constraints and columns that the revision does not name",
        "name what is dropped, each with its own statement",
    ),
    Rule(
        "rename-object",
        Hazard.CODE,
        "running code still uses the old name",
        "create the new one beside the old one, move the code over, drop the old one later",
    ),
    Rule(
        "enum-value-removed",
        Hazard.CODE,
        "running code still reads or writes the value",
        "stop writing the value, move the rows in batches, then exchange the type (recipe: enum-value)",
    ),
    Rule(
        "row-security-without-policy",
        Hazard.CODE,
        "from then on running code, unless it owns the table, sees and writes no row at all",
        "create the policies in the same transaction, before ENABLE ROW LEVEL SECURITY",
    ),
    # --- transactions ------------------------------------------------------------------------------------------------
    Rule(
        "enum-value-used-in-transaction",
        Hazard.FAILURE,
        "a value that was added to an enum cannot be used before its transaction is committed",
        "add it in an autocommit block, or use it in the next revision",
    ),
    Rule(
        "enum-value-in-transaction",
        Hazard.FAILURE,
        "before PostgreSQL 12 ALTER TYPE … ADD VALUE is refused inside of a transaction",
        "put it into an autocommit block",
    ),
    Rule(
        "outside-transaction-only",
        Hazard.FAILURE,
        "the statement is refused inside of a transaction",
        "put it into `with op.get_context().autocommit_block():`",
    ),
    Rule(
        "lock-timeout-off",
        Hazard.CODE,
        "what follows waits for locks without end, and everybody who comes later waits behind it",
        "leave it out: migration_config.lock_timeout holds, and what meets a long transaction is tried again",
        _WARNING,
    ),
    Rule(
        "many-tables-locked",
        Hazard.CODE,
        "locks on several tables are held until the end of the transaction: each waits for its readers while the others"
        " keep theirs waiting, and running code that takes them in another order deadlocks",
        "one table per revision",
        _WARNING,
    ),
    Rule(
        "backfill-under-lock",
        Hazard.SIZE,
        "the lock of the DDL before it in the same transaction is held while rows are written",
        "write the rows in a revision of their own with batched_update (recipe: backfill)",
    ),
    Rule(
        "unbounded-change",
        Hazard.SIZE,
        "all rows are written in one transaction: their locks last until its end, replicas lag, dead rows pile up",
        "batched_update by ranges of the key (recipe: backfill)",
    ),
    Rule(
        "lock-table",
        Hazard.CODE,
        "everybody else waits until the transaction ends",
        "lock rows, or take an advisory lock that only migrations know",
    ),
    Rule(
        "truncate",
        Hazard.CODE,
        "all rows are gone, and the lock waits for every reader",
        "delete in batches, or drop a table that nobody uses",
    ),
    Rule(
        "ddl-commits-implicitly",
        Hazard.FAILURE,
        "DDL commits the rows that were written before it: a revision that fails later stays half applied",
        "rows in one revision, DDL in another one",
        _WARNING,
    ),
    Rule(
        "separate-alters",
        Hazard.SIZE,
        "each of these ALTERs goes through the whole table",
        "write them as one ALTER TABLE, which goes through it once",
        _WARNING,
    ),
    Rule(
        "algorithm-refused",
        Hazard.FAILURE,
        "the server cannot do this change with the ALGORITHM or LOCK that is asked for, and refuses it",
        "leave ALGORITHM and LOCK away and see what the lint says, or take the recipe of that finding",
    ),
    # --- SQLite ------------------------------------------------------------------------------------------------------
    Rule(
        "batch-deletes-children",
        Hazard.FAILURE,
        "dropping the old table deletes or refuses the rows that refer to it while foreign keys are on",
        "PRAGMA foreign_keys = OFF before the transaction begins",
    ),
    Rule(
        "batch-drops-triggers",
        Hazard.FAILURE,
        "the triggers of the table are dropped with the old copy",
        "create them again in the same revision",
    ),
    Rule(
        "pragma-in-transaction",
        Hazard.FAILURE,
        "PRAGMA foreign_keys does nothing inside of a transaction",
        "put it into an autocommit block before the first change",
    ),
    Rule(
        "column-cannot-be-added",
        Hazard.FAILURE,
        "SQLite refuses to add such a column",
        "add a plain nullable column and fill it (recipe: add-column), or use batch mode",
    ),
    Rule(
        "column-in-use",
        Hazard.FAILURE,
        "SQLite refuses to drop a column that an index, a view, a trigger or a key uses",
        "drop those first, or use batch mode",
    ),
    # --- care --------------------------------------------------------------------------------------------------------
    Rule(
        "json-without-equality",
        Hazard.CARE,
        "json has no equality: SELECT DISTINCT, GROUP BY and UNION over the table fail",
        "use jsonb",
        _WARNING,
    ),
    Rule(
        "char-padded",
        Hazard.CARE,
        "char(n) pads with spaces that comparisons then ignore",
        "use text or varchar(n)",
        _WARNING,
    ),
    Rule(
        "unreadable-statement",
        Hazard.CARE,
        "the lint does not know this statement and has no opinion",
        "look at it yourself",
        Severity.HINT,
    ),
    Rule(
        "revision-not-read",
        Hazard.CARE,
        "its statements are not known before it runs: only SQL that stands in the file as it is was looked at",
        "look at them on a copy of the database: sillar upgrade --dry-run",
        _WARNING,
    ),
    Rule(
        "acknowledgement-invalid",
        Hazard.CARE,
        "the acknowledgement does not count",
        "write `# sillar: acknowledge RULE: reason` or `# sillar: acknowledge RULE on TABLE: reason`",
    ),
    Rule(
        "acknowledgement-unused",
        Hazard.CARE,
        "the acknowledgement speaks of nothing that was found",
        "remove it",
        Severity.HINT,
    ),
)  # fmt: skip
